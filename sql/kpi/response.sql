-- How fast trouble was believed, taken on, and over, in seconds: mean, median, 95th percentile.
-- Of incidents that were opened in the window; merged ones count with what they were merged into.
-- One that came back counts each time by itself, as what it then was: it was not bad in between.
-- Detected: first bad look to believed. Acknowledged, resolved: from believed on.
with it as (
    select
        spell.incident_id,
        spell.severity,
        spell.kind,
        date_part('epoch', spell.opened_at) - date_part('epoch', spell.started_at) as detect_s,
        case
            when incident.acknowledged_at >= spell.opened_at
                 and incident.acknowledged_at <= coalesce(spell.ended_at, incident.acknowledged_at)
            then date_part('epoch', incident.acknowledged_at) - date_part('epoch', spell.opened_at)
        end as acknowledge_s,
        date_part('epoch', spell.ended_at) - date_part('epoch', spell.opened_at) as resolve_s
    from incident_spell as spell
    join incident on incident.incident_id = spell.incident_id
    where spell.opened_at >= now() - interval '30 days' and spell.opened_at < now()
      and incident.merged_into is null
)
select
    severity,
    kind,
    count(distinct incident_id) as incidents,
    count(*) as times,
    count(resolve_s) as resolved,
    avg(detect_s) as detect_s,
    avg(acknowledge_s) as acknowledge_s,
    avg(resolve_s) as resolve_s,
    median(detect_s) as detect_median_s,
    median(acknowledge_s) as acknowledge_median_s,
    median(resolve_s) as resolve_median_s,
    approx_percentile_cont(0.95) within group (order by resolve_s) as resolve_p95_s
from it
group by severity, kind
order by severity, kind
