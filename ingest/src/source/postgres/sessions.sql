-- Who waits for whom, and since when. Our own session does not count.
select
    count(*) filter (where cardinality(pg_blocking_pids(pid)) > 0)::float8
        as "postgresql.blocked_sessions",
    coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0)::float8
        as "postgresql.transaction.age",
    -- One that waits for a lock is held up by another, and not long by itself.
    coalesce(max(extract(epoch from clock_timestamp() - query_start))
        filter (where state = 'active' and wait_event_type is distinct from 'Lock'), 0)::float8
        as "postgresql.statement.age",
    coalesce(max(extract(epoch from clock_timestamp() - state_change))
        filter (where state like 'idle in transaction%'), 0)::float8
        as "postgresql.idle_in_transaction.age",
    -- Through json, because the column `waitstart` is only there from version 14 on.
    (select max(extract(epoch from clock_timestamp() - (to_jsonb(l) ->> 'waitstart')::timestamptz))
     from pg_locks l where not granted)::float8
        as "postgresql.lock_wait.age"
from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
