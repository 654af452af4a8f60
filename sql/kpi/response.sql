-- How fast trouble was believed, taken on, and over, in seconds: mean, median, 95th percentile.
-- Of incidents that were opened in the window; merged ones count with what they were merged into.
-- Detected: first bad look to believed. Acknowledged, resolved: from believed on.
with it as (
    select
        severity,
        kind,
        date_part('epoch', opened_at) - date_part('epoch', started_at) as detect_s,
        date_part('epoch', acknowledged_at) - date_part('epoch', opened_at) as acknowledge_s,
        date_part('epoch', resolved_at) - date_part('epoch', opened_at) as resolve_s
    from incident
    where opened_at >= now() - interval '30 days' and opened_at < now() and merged_into is null
)
select
    severity,
    kind,
    count(*) as incidents,
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
