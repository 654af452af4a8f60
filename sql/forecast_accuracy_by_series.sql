-- How good stored forecasts were, by series, horizon and model; `forecast_accuracy` sums it up.
select
    metric,
    series,
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
group by metric, series, horizon, model
