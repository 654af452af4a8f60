-- How likely each limit is crossed, as of the last look. One row per limit and horizon.
create table risk
(
    -- component, metric, series and limit.
    risk_key     text   not null,
    horizon      text   not null,
    component    text   not null,
    metric       text   not null,
    series       bigint not null,
    limit_value  double precision not null,
    side         text   not null,

    -- Null when it is unknown, and then there is a reason.
    probability  double precision,
    impact       double precision not null,
    level        text,
    reason       text,

    -- When the limit is reached with probability 0.1, 0.5 and 0.9; null beyond the horizon.
    breach_10_at bigint,
    breach_50_at bigint,
    breach_90_at bigint,
    assessed_at  bigint not null,

    primary key (risk_key, horizon),
    constraint risk_side_is_known check (side in ('above', 'below')),
    constraint risk_probability_is_a_share check (probability between 0 and 1),
    constraint unknown_risk_has_a_reason check ((probability is null) = (reason is not null))
);

-- Probabilities as they were said, for the day on which the truth is known. What came of them
-- corrects the next ones.
create table risk_outcome
(
    risk_key    text   not null,
    horizon     text   not null,
    issued_at   bigint not null,
    due_at      bigint not null,
    simulated   double precision not null,
    climatology double precision not null,
    probability double precision not null,

    -- Null until it is due, and for ever when there were no data.
    happened    bigint,
    scored_at   bigint,

    primary key (risk_key, horizon, issued_at),
    constraint happened_is_yes_or_no check (happened in (0, 1))
);

create index risk_outcome_due on risk_outcome (due_at) where scored_at is null;

-- Early warnings: raised once, updated, then confirmed by what came or withdrawn.
create table prediction_alert
(
    alert_id      text   primary key,
    risk_key      text   not null,
    component     text   not null,
    metric        text   not null,
    title         text   not null,
    level         text   not null,
    state         text   not null,
    probability   double precision not null,
    highest       double precision not null,
    breach_10_at  bigint,
    breach_50_at  bigint,
    breach_90_at  bigint,

    -- How often in a row the probability was low enough to withdraw.
    calm          bigint not null,
    raised_at     bigint not null,
    updated_at    bigint not null,
    ended_at      bigint,

    -- From the warning to what it warned of, in microseconds.
    lead_us       bigint,

    constraint alert_state_is_known check (state in ('raised', 'confirmed', 'withdrawn')),
    constraint ended_alert_has_a_time check ((state = 'raised') = (ended_at is null)),
    constraint only_confirmed_has_a_lead check (state = 'confirmed' or lead_us is null)
);

create unique index one_alert_per_risk on prediction_alert (risk_key) where state = 'raised';
