-- Log that is kept for a consumer; an inactive slot fills the disk.
select slot_name::text as slot, active::text as active,
       pg_wal_lsn_diff(
           case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
           restart_lsn)::float8 as "postgresql.replication.slot.retained"
from pg_replication_slots
limit {rows}
