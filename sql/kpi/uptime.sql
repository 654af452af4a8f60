-- The share of the watched time in which there was no critical incident. Overlapping incidents count
-- once. Watched is what health snapshots cover, each until the next one, but no longer than twice as
-- long as is usual. Null when nothing was watched. Times are seconds since 1970.
with down as (
    select
        greatest(date_part('epoch', started_at), date_part('epoch', now() - interval '30 days'))
            as began,
        least(date_part('epoch', coalesce(resolved_at, now())), date_part('epoch', now())) as ended
    from incident
    where severity = 'critical' and merged_into is null
      and started_at < now()
      and coalesce(resolved_at, now()) > now() - interval '30 days'
),
-- How far the incidents that began before reach.
reach as (
    select
        began,
        ended,
        max(ended) over (
            order by began, ended rows between unbounded preceding and 1 preceding
        ) as before
    from down
),
critical as (
    select
        coalesce(sum(case
            when before is null or before <= began then ended - began
            when before < ended then ended - before
            else 0
        end), 0) as down_s,
        count(*) as incidents
    from reach
),
seen as (
    select
        date_part('epoch', coalesce(lead(ts) over (order by ts), now())) - date_part('epoch', ts)
            as gap_s
    from (
        select distinct ts from health where ts >= now() - interval '30 days' and ts < now()
    ) as at
),
usual as (select 2 * median(gap_s) as most_s from seen),
watched as (select sum(least(gap_s, most_s)) as watched_s from seen cross join usual)
select
    1 - least(down_s, watched_s) / nullif(watched_s, 0) as uptime,
    down_s,
    watched_s,
    incidents
from critical
cross join watched
