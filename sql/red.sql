-- Rate, errors and duration of every operation in every minute, as its spans tell: how often it was
-- asked for, how often that failed, and how long it took.
-- In: spans. Out: a row per minute, service, operation and kind; kind `client` and `producer` is what a
-- service asks of others. Ask for days by `date`, so that no more is read.
select
    date,
    time_bucket('1 minute', ts) as ts,
    service,
    name as operation,
    kind,
    count(*) as requests,
    count(*) / 60.0 as requests_per_second,
    count(*) filter (where status = 'error') as errors,
    count(*) filter (where status = 'error') / cast(count(*) as double) as error_ratio,
    avg(duration_ns) / 1e9 as mean_s,
    approx_percentile_cont(0.5) within group (order by duration_ns / 1e9) as p50_s,
    approx_percentile_cont(0.95) within group (order by duration_ns / 1e9) as p95_s,
    approx_percentile_cont(0.99) within group (order by duration_ns / 1e9) as p99_s,
    max(duration_ns) / 1e9 as max_s
from spans
group by date, time_bucket('1 minute', ts), service, name, kind
