-- Whom trouble hurt: minutes of critical incidents x share of users that the component stands for
-- (its configured criticality, an estimate). A component without one has none, not zero. Only time in
-- which health was looked at counts, as in uptime: how long trouble lasted while nothing ran is not
-- known, and minutes are null when none of it was seen.
with shown as (
    select
        date_part('epoch', ts) as began,
        date_part('epoch', coalesce(lead(ts) over (order by ts), now())) as later
    from (
        select distinct ts from health where ts >= now() - interval '30 days' and ts < now()
    ) as look
),
usual as (select 2 * median(later - began) as most_s from shown),
stood as (
    select began, least(later, began + most_s) as ended
    from shown
    cross join usual
),
-- Looks that follow each other are one stretch: where one ends and the next begins, nothing changes.
ran as (
    select t, sum(ran) as ran
    from (
        select began as t, 1 as ran from stood
        union all
        select ended as t, -1 as ran from stood
    ) as edge
    group by t
    having sum(ran) <> 0
),
bad as (
    select
        incident.component,
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
it as (
    select component, count(distinct incident_id) as incidents from bad group by component
),
edge as (
    select it.component, ran.t, ran.ran, 0 as down from ran cross join it
    union all
    select component, began as t, 0 as ran, 1 as down from bad where ended > began
    union all
    select component, ended as t, 0 as ran, -1 as down from bad where ended > began
),
turn as (
    select component, t, sum(ran) as ran, sum(down) as down from edge group by component, t
),
stretch as (
    select
        component,
        lead(t) over (partition by component order by t) - t as s,
        sum(ran) over (partition by component order by t) > 0 as ran,
        sum(down) over (partition by component order by t) > 0 as down
    from turn
),
lasted as (
    select component, sum(s) filter (where ran and down) / 60 as minutes
    from stretch
    group by component
)
select
    it.component,
    it.incidents,
    lasted.minutes,
    c.criticality as affected_share,
    lasted.minutes * c.criticality as user_minutes
from it
left join lasted on lasted.component = it.component
left join component_criticality as c on c.component = it.component
order by it.component
