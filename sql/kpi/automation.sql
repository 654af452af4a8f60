-- Who ended the incidents that were opened in the window, and what that has saved.
-- automated: ended by an action that was measured to have helped, without people having been called,
-- over all that did not end by themselves. saved_h: incidents ended so x (mean time of those that
-- people were called for - mean time of those ended so). Null while nobody knows how long people take.
-- Of one that came back only the time counts in which it was open.
with spent as (
    select
        incident_id,
        sum(date_part('epoch', ended_at) - date_part('epoch', opened_at)) / 3600 as hours
    from incident_spell
    group by incident_id
),
it as (
    select
        case
            when resolved_at is null then 'open'
            when escalated_at is not null then 'people'
            when resolved_by = 'action' then 'action'
            when resolved_by = 'itself' then 'itself'
            else 'people'
        end as ended_by,
        spent.hours
    from incident
    left join spent on spent.incident_id = incident.incident_id
    where opened_at >= now() - interval '30 days' and opened_at < now() and merged_into is null
),
counted as (
    select
        count(*) as incidents,
        count(*) filter (where ended_by = 'open') as still_open,
        count(*) filter (where ended_by = 'action') as by_action,
        count(*) filter (where ended_by = 'itself') as by_itself,
        count(*) filter (where ended_by = 'people') as by_people,
        avg(hours) filter (where ended_by = 'action') as action_h,
        avg(hours) filter (where ended_by = 'people') as people_h
    from it
)
select
    *,
    by_action / nullif(cast(by_action + by_people as double), 0) as automated,
    case
        when people_h > action_h then by_action * (people_h - action_h)
        when people_h <= action_h then 0
    end as saved_h
from counted
