-- How often an action helped, of those that were begun in the window and measured afterwards, by type
-- of trouble and kind of action. That an action said it was done does not count. One whose effect
-- nobody could measure is unverified: evidence neither for it nor against it.
select
    incident_kind,
    action,
    count(*) as attempts,
    count(*) filter (where outcome = 'effective') as effective,
    count(*) filter (where outcome = 'no_effect') as no_effect,
    count(*) filter (where outcome = 'worse') as worse,
    count(*) filter (where outcome = 'failed') as failed,
    count(*) filter (where outcome = 'unverified') as unverified,
    count(*) filter (where outcome = 'effective')
        / nullif(cast(count(*) filter (where outcome <> 'unverified') as double), 0) as success
from action
where started_at >= now() - interval '30 days' and started_at < now()
  and outcome in ('effective', 'no_effect', 'worse', 'failed', 'unverified')
group by incident_kind, action
order by incident_kind, action
