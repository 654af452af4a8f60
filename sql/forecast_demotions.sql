-- Models that did worse than the seasonal naive method on the same steps, over the forecasts of
-- the last two weeks, a dozen of them at least.
select
    own.metric,
    own.horizon,
    own.model,
    count(*) as forecasts,
    avg(own.mase) as mase,
    avg(reference.mase) as reference_mase
from forecast_scores as own
join forecast_scores as reference
    on own.metric = reference.metric
    and own.series = reference.series
    and own.horizon = reference.horizon
    and own.issued_at = reference.issued_at
where own.model <> 'reference: seasonal naive'
  and reference.model = 'reference: seasonal naive'
  and own.issued_at > now() - interval '14 days'
  and reference.issued_at > now() - interval '14 days'
group by own.metric, own.horizon, own.model
having count(*) >= 12 and avg(own.mase) > avg(reference.mase)
