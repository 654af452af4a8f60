-- The share of the known time in which a component did its work (healthy or degraded), from health
-- snapshots. A snapshot stands until the next one, but no longer than twice as long as is usual: what
-- was not watched is not known.
with seen as (
    select
        component,
        state,
        date_part('epoch', coalesce(lead(ts) over (partition by component order by ts), now()))
            - date_part('epoch', ts) as gap_s
    from health
    where ts >= now() - interval '30 days' and ts < now()
),
usual as (select component, 2 * median(gap_s) as most_s from seen group by component),
stood as (
    select seen.component, seen.state, least(seen.gap_s, usual.most_s) as s
    from seen
    join usual on usual.component = seen.component
)
select
    component,
    coalesce(sum(s) filter (where state in ('healthy', 'degraded')), 0)
        / sum(s) filter (where state <> 'unknown') as availability,
    coalesce(sum(s) filter (where state = 'degraded'), 0) as degraded_s,
    coalesce(sum(s) filter (where state = 'unhealthy'), 0) as unhealthy_s,
    coalesce(sum(s) filter (where state = 'unknown'), 0) as unknown_s,
    coalesce(sum(s) filter (where state <> 'unknown'), 0) as known_s
from stood
group by component
order by component
