-- How good stored forecasts were, by metric, horizon and model. MASE below 1 is better than the
-- seasonal naive method was on the history before; coverage should be near its name.
select
    metric,
    horizon,
    model,
    count(*) as forecasts,
    sum(n_points) as points,
    avg(mase) as mase,
    avg(crps) as crps,
    avg(coverage_80) as coverage_80,
    avg(coverage_95) as coverage_95,
    max(issued_at) as last_issued_at
from forecast_scores
group by metric, horizon, model
