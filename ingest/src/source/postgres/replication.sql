-- How far standbys are behind us, and we behind our primary.
select coalesce(nullif(application_name, ''), client_addr::text, 'local') as standby,
       state::text as state,
       extract(epoch from replay_lag)::float8 as "postgresql.replication.lag",
       pg_wal_lsn_diff(
           case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_lsn() end,
           replay_lsn)::float8 as "postgresql.replication.lag_bytes",
       null::float8 as "postgresql.replication.delay"
from pg_stat_replication
union all
select null, null, null, null,
       -- Nothing left to replay means no delay, however old the last transaction is.
       case when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
            else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) end::float8
where pg_is_in_recovery()
