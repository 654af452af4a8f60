-- What each database has done since its statistics were reset.
select d.datname::text as database,
       xact_commit::float8 as "postgresql.commits",
       xact_rollback::float8 as "postgresql.rollbacks",
       tup_returned::float8 as "postgresql.rows.returned",
       tup_fetched::float8 as "postgresql.rows.fetched",
       tup_inserted::float8 as "postgresql.rows.inserted",
       tup_updated::float8 as "postgresql.rows.updated",
       tup_deleted::float8 as "postgresql.rows.deleted",
       blks_hit::float8 as "postgresql.blocks.hit",
       blks_read::float8 as "postgresql.blocks.read",
       deadlocks::float8 as "postgresql.deadlocks",
       temp_bytes::float8 as "postgresql.temp.io",
       case when has_database_privilege(d.oid, 'connect')
            then pg_database_size(d.oid) end::float8 as "postgresql.database.size"
from pg_database d join pg_stat_database s on s.datid = d.oid
where not d.datistemplate and d.datallowconn
order by xact_commit desc
limit {rows}
