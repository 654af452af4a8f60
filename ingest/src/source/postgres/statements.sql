-- The statements that took the most time. Only kinds whose text the server strips of literals:
-- others may show a password.
select queryid::text as query_id,
       left(regexp_replace(query, '\s+', ' ', 'g'), 200) as statement,
       sum(calls)::float8 as "postgresql.statement.calls",
       sum(rows)::float8 as "postgresql.statement.rows",
       (sum(total_exec_time) / 1000)::float8 as "postgresql.statement.time",
       (sum(total_exec_time) / nullif(sum(calls), 0) / 1000)::float8
           as "postgresql.statement.mean_time"
from pg_stat_statements
where query ~* '^\s*(select|insert|update|delete|merge|with)\M'
group by 1, 2
order by sum(total_exec_time) desc
limit {rows}
