-- Whom trouble hurt: minutes of critical incidents x share of users that the component stands for
-- (its configured criticality, an estimate). A component without one has none, not zero.
with it as (
    select
        component,
        count(*) as incidents,
        sum(least(date_part('epoch', coalesce(resolved_at, now())), date_part('epoch', now()))
            - greatest(date_part('epoch', started_at),
                       date_part('epoch', now() - interval '30 days'))) / 60 as minutes
    from incident
    where severity = 'critical' and merged_into is null
      and started_at < now()
      and coalesce(resolved_at, now()) > now() - interval '30 days'
    group by component
)
select
    it.component,
    it.incidents,
    it.minutes,
    c.criticality as affected_share,
    it.minutes * c.criticality as user_minutes
from it
left join component_criticality as c on c.component = it.component
order by it.component
