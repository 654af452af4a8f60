-- An action whose effect nobody could measure is no evidence, neither for it nor against it: it has a
-- column of its own and does not count in the share.
drop view effectiveness;

create view effectiveness as
select incident_kind, action,
       count(case when outcome <> 'unverified' then 1 end) as attempts,
       count(case when outcome = 'effective' then 1 end) as effective,
       count(case when outcome = 'no_effect' then 1 end) as no_effect,
       count(case when outcome = 'worse' then 1 end) as worse,
       count(case when outcome = 'failed' then 1 end) as failed,
       cast(count(case when outcome = 'effective' then 1 end) as double precision)
           / nullif(count(case when outcome <> 'unverified' then 1 end), 0) as share,
       count(case when outcome = 'unverified' then 1 end) as unverified
from   action
where  outcome in ('effective', 'no_effect', 'worse', 'failed', 'unverified')
group  by incident_kind, action;
