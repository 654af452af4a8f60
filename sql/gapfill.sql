-- CPU load of every host over six hours: a row for each five minutes, also where nothing was
-- measured. `carried` repeats the last mean, `drawn` lies on the line between its neighbours.
with buckets as (
    select ts from time_series(now() - interval '6 hours', now(), '5 minutes')
),
means as (
    select host, time_bucket('5 minutes', ts) as bucket, avg(value) as mean
    from samples
    where metric = 'system.cpu.utilization'
      and ts >= now() - interval '6 hours' and ts < now()
    group by host, bucket
),
hosts as (select distinct host from means)
select
    hosts.host,
    buckets.ts,
    means.mean,
    locf(means.mean) over w as carried,
    interpolate(buckets.ts, means.mean) over w as drawn
from hosts
cross join buckets
left join means on means.bucket = buckets.ts and means.host is not distinct from hosts.host
window w as (partition by hosts.host order by buckets.ts)
order by hosts.host, buckets.ts
