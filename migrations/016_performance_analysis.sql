-- What holds the system up, from its first sight until it is gone.
--
-- The history of findings lies in the lake; here is what is the case now and since when, and what
-- people were advised to do about it.
create table bottleneck
(
    bottleneck_id text   primary key,

    -- The same trouble has the same key: it is one row until it is gone.
    dedupe_key    text   not null,
    kind          text   not null,
    signal        text   not null,
    component     text,
    resource      text   not null,
    title         text   not null,
    severity      text   not null,
    confidence    double precision not null,

    -- Since when, as far as the samples show; and the metric that moved first, and when.
    since         bigint not null,
    first_metric  text,
    first_at      bigint,

    -- JSON: the numbers that it rests on.
    evidence      text   not null,
    seen_at       bigint not null,
    resolved_at   bigint,

    constraint bottleneck_severity_is_known check (severity in ('warning', 'critical')),
    constraint bottleneck_confidence_is_a_share check (confidence between 0 and 1)
);

create unique index one_bottleneck_per_key on bottleneck (dedupe_key) where resolved_at is null;

-- What would help, and what became of it.
create table recommendation
(
    recommendation_id text   primary key,
    bottleneck_id     text   not null references bottleneck (bottleneck_id) on delete cascade,
    action            text   not null,
    expected          text   not null,
    effort            text   not null,
    risk              text   not null,

    -- 0 to 1: gain, severity and confidence against effort and risk.
    rank              double precision not null,
    state             text   not null default 'open',
    created_at        bigint not null,
    decided_at        bigint,
    decided_by        text,
    note              text,

    -- The series by which the effect is measured, before the decision and long enough after it;
    -- lower is better. Null when nothing was measured.
    metric            text   not null,
    series            bigint not null,
    before_value      double precision,
    after_value       double precision,
    measured_at       bigint,

    constraint recommendation_state_is_known check (state in ('open', 'done', 'dismissed')),
    constraint recommendation_effort_is_known check (effort in ('low', 'medium', 'high')),
    constraint recommendation_risk_is_known check (risk in ('low', 'medium', 'high')),
    constraint decision_has_a_time check ((state = 'open') = (decided_at is null))
);

create index recommendation_of_bottleneck on recommendation (bottleneck_id);
