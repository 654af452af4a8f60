-- How often answers and log lines were errors, by service. Severity numbers as OpenTelemetry counts
-- them: 17 and above are errors.
with answers as (
    select
        coalesce(service, '') as service,
        count(*) as spans,
        count(*) filter (where status = 'error') as failed
    from spans
    where ts >= now() - interval '30 days' and ts < now()
    group by coalesce(service, '')
),
lines as (
    select
        coalesce(service, '') as service,
        count(*) as lines,
        count(*) filter (where severity >= 17) as errors
    from events
    where ts >= now() - interval '30 days' and ts < now()
    group by coalesce(service, '')
)
select
    coalesce(answers.service, lines.service) as service,
    coalesce(answers.spans, 0) as spans,
    coalesce(answers.failed, 0) as failed_spans,
    answers.failed / nullif(cast(answers.spans as double), 0) as error_rate,
    coalesce(lines.lines, 0) as log_lines,
    coalesce(lines.errors, 0) as error_lines
from answers
full join lines on lines.service = answers.service
order by 1
