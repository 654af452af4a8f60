-- The share of the watched time in which no critical incident lasted. Overlapping ones count once, and
-- one that came back counts only while it was bad. Watched is the time in which health looks knew how
-- anything was, or an incident did; each look stands until the next one, but no longer than twice as
-- long as is usual: what happened while nothing ran is not known. Null when nothing was watched. Times
-- are seconds since 1970.
with look as (
    select ts, bool_or(state <> 'unknown') as is_known
    from health
    where ts >= now() - interval '30 days' and ts < now()
    group by ts
),
shown as (
    select
        date_part('epoch', ts) as began,
        date_part('epoch', coalesce(lead(ts) over (order by ts), now())) as later,
        cast(is_known as bigint) as known
    from look
),
usual as (select 2 * median(later - began) as most_s from shown),
stood as (
    select began, least(later, began + most_s) as ended, known
    from shown
    cross join usual
),
bad as (
    select
        spell.incident_id,
        greatest(date_part('epoch', spell.started_at),
                 date_part('epoch', now() - interval '30 days')) as began,
        least(date_part('epoch', coalesce(spell.ended_at, now())), date_part('epoch', now()))
            as ended
    from incident_spell as spell
    join incident on incident.incident_id = spell.incident_id
    where spell.severity = 'critical' and incident.merged_into is null
      and spell.started_at < now()
      and coalesce(spell.ended_at, now()) > now() - interval '30 days'
),
-- What begins and ends when, counted up and down. A clock that was set back makes no time.
edge as (
    select began as t, 1 as ran, known, 0 as down from stood
    union all
    select ended as t, -1 as ran, -known as known, 0 as down from stood
    union all
    select began as t, 0 as ran, 0 as known, 1 as down from bad where ended > began
    union all
    select ended as t, 0 as ran, 0 as known, -1 as down from bad where ended > began
),
turn as (
    select t, sum(ran) as ran, sum(known) as known, sum(down) as down from edge group by t
),
stretch as (
    select
        lead(t) over (order by t) - t as s,
        sum(ran) over (order by t) > 0 as ran,
        sum(known) over (order by t) > 0 as known,
        sum(down) over (order by t) > 0 as down
    from turn
),
counted as (
    select
        coalesce(sum(s) filter (where ran and down), 0) as down_s,
        coalesce(sum(s) filter (where known or (ran and down)), 0) as watched_s
    from stretch
),
incidents as (select count(distinct incident_id) as incidents from bad)
select
    1 - down_s / nullif(watched_s, 0) as uptime,
    down_s,
    watched_s,
    incidents
from counted
cross join incidents
