-- The largest tables: dead rows hint at bloat, scans without index at a missing one.
select schemaname::text as schema, relname::text as "table",
       pg_table_size(relid)::float8 as "postgresql.table.size",
       n_live_tup::float8 as "postgresql.table.rows.live",
       n_dead_tup::float8 as "postgresql.table.rows.dead",
       (n_dead_tup::float8 / nullif(n_live_tup + n_dead_tup, 0)) as "postgresql.table.dead_ratio",
       seq_scan::float8 as "postgresql.table.sequential_scans",
       idx_scan::float8 as "postgresql.table.index_scans",
       seq_tup_read::float8 as "postgresql.table.sequential_rows",
       (seq_scan::float8 / nullif(seq_scan + coalesce(idx_scan, 0), 0))
           as "postgresql.table.sequential_share"
from pg_stat_user_tables
order by n_live_tup + n_dead_tup desc, seq_tup_read desc
limit {rows}
