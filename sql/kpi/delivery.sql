-- Whether what was promised arrived, by destination: of what was finished in the window, the share
-- that was taken. Deliveries that were removed since then are counted by whole days; how long the
-- others took is known of those that are still there. Also what waits now.
with live as (
    select
        destination,
        count(*) filter (where state = 'delivered') as delivered,
        count(*) filter (where state = 'dead') as dead,
        count(*) filter (where state = 'delivered' and attempts = 1) as at_once,
        approx_percentile_cont(0.5) within group (order by
            case when state = 'delivered'
                 then date_part('epoch', finished_at) - date_part('epoch', created_at) end) as median_s,
        approx_percentile_cont(0.99) within group (order by
            case when state = 'delivered'
                 then date_part('epoch', finished_at) - date_part('epoch', created_at) end) as p99_s
    from delivery
    where finished_at >= now() - interval '30 days' and finished_at < now()
    group by destination
),
gone as (
    select destination, sum(delivered) as delivered, sum(dead) as dead
    from delivery_day
    where day_at > now() - interval '30 days' - interval '1 day' and day_at < now()
    group by destination
),
waits as (
    select
        destination,
        count(*) filter (where state in ('pending', 'waiting')) as waiting,
        count(*) filter (where state = 'quarantined') as quarantined
    from delivery
    where finished_at is null
    group by destination
),
names as (
    select destination from live
    union
    select destination from gone
    union
    select destination from waits
),
counted as (
    select
        names.destination,
        coalesce(live.delivered, 0) + coalesce(gone.delivered, 0) as delivered,
        coalesce(live.dead, 0) + coalesce(gone.dead, 0) as dead,
        coalesce(waits.waiting, 0) as waiting,
        coalesce(waits.quarantined, 0) as quarantined,
        live.at_once / nullif(cast(live.delivered as double), 0) as first_attempt,
        live.median_s,
        live.p99_s
    from names
    left join live on live.destination = names.destination
    left join gone on gone.destination = names.destination
    left join waits on waits.destination = names.destination
)
select
    *,
    delivered / nullif(cast(delivered + dead as double), 0) as success
from counted
order by destination
