-- Connections by state, ours included, and how many there may be.
select state, "postgresql.connection.count",
       null::float8 as "postgresql.connection.limit",
       null::float8 as "postgresql.connection.utilization"
from (
    select coalesce(state, 'unknown') as state, count(*)::float8 as "postgresql.connection.count"
    from pg_stat_activity where backend_type = 'client backend' group by 1
) by_state
union all
select null, null, ceiling, n / ceiling
from (
    select current_setting('max_connections')::float8 as ceiling,
           (select count(*) from pg_stat_activity where backend_type = 'client backend')::float8 as n
) total
