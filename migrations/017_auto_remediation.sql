-- One thing that is wrong, from its first symptom until it is resolved.
create table incident
(
    incident_id     text   primary key,

    -- Symptoms with the same key are the same trouble: they join the incident that is not resolved yet
    -- and do not open a second one.
    dedupe_key      text   not null,
    component       text   not null,
    kind            text   not null,
    title           text   not null,
    severity        text   not null,
    state           text   not null,
    owner           text,

    -- started: first seen bad; opened: believed. The difference is the time to detect.
    started_at      bigint not null,
    opened_at       bigint not null,
    acknowledged_at bigint,
    updated_at      bigint not null,
    resolved_at     bigint,

    -- Who or what ended it: 'action', 'itself', 'merge', or the name of a person's key.
    resolved_by     text,
    merged_into     text,
    snoozed_until   bigint,
    reopened        bigint not null default 0,
    flapping        bigint not null default 0,

    -- Set once people have to take over, with why.
    escalated_at    bigint,
    escalation      text,
    notified_at     bigint,
    notices         bigint not null default 0,

    -- Counts changes, so that two deciders cannot overwrite each other.
    version         bigint not null default 0,

    constraint incident_severity_is_known check (severity in ('info', 'warning', 'critical')),
    constraint incident_state_is_known check (state in ('open', 'acknowledged', 'resolved')),
    constraint resolved_has_a_time check ((state = 'resolved') = (resolved_at is not null))
);

-- The promise above, kept by the database even when two processes see the same trouble at once.
create unique index one_unresolved_incident_per_key on incident (dedupe_key) where state <> 'resolved';
create index incident_by_time on incident (opened_at);

-- The timeline: what happened to an incident, in order. Never changed, only added to.
create table incident_event
(
    incident_id text   not null references incident (incident_id) on delete cascade,
    number      bigint not null,
    at          bigint not null,
    kind        text   not null,
    who         text   not null,
    detail      text   not null,

    primary key (incident_id, number)
);

-- What one rule sees in one series of one component, with as much of the past as hysteresis needs.
create table symptom
(
    symptom_id  text   primary key,
    rule        text   not null,
    component   text   not null,
    kind        text   not null,
    severity    text   not null,
    title       text   not null,
    metric      text,
    series      bigint,
    labels      text   not null,
    state       text   not null,

    -- The latest observations as bits, the newest lowest, 1 for bad.
    history     bigint not null,
    n_history   bigint not null,
    observed    double precision,
    expected    double precision,
    score       double precision,

    bad_since   bigint,
    since       bigint not null,
    seen_at     bigint not null,
    known_at    bigint,
    expires_at  bigint,
    incident_id text,

    constraint symptom_state_is_known check (state in ('good', 'bad'))
);

create index symptom_of_incident on symptom (incident_id) where incident_id is not null;

-- What was done, or asked for, or would have been done. Written before acting: a row that is still
-- 'acting' after a crash says that something may have happened.
create table action
(
    action_id      text   primary key,
    incident_id    text   not null references incident (incident_id) on delete cascade,
    symptom_id     text   not null,
    incident_kind  text   not null,
    component      text   not null,
    playbook       text   not null,
    rung           bigint not null,
    action         text   not null,
    target         text   not null,
    risk           text   not null,
    state          text   not null,
    outcome        text,
    detail         text   not null default '',
    output         text   not null default '',

    -- The metric that gave it away, before and after.
    before_value   double precision,
    after_value    double precision,

    created_at     bigint not null,
    started_at     bigint,
    acted_at       bigint,
    verify_from    bigint,
    verify_until   bigint,
    ended_at       bigint,
    owner          text,
    deadline       bigint,
    approval_hash  text,
    approval_until bigint,
    decided_by     text,
    version        bigint not null default 0,

    constraint action_state_is_known
        check (state in ('proposed', 'approved', 'acting', 'verifying', 'ended')),
    constraint action_outcome_is_known
        check (outcome in ('effective', 'no_effect', 'worse', 'failed', 'unverified', 'dry_run',
                           'rejected', 'expired', 'dropped')),
    constraint ended_has_an_outcome check ((state = 'ended') = (outcome is not null))
);

-- The lease on a target: one action at a time.
create unique index one_running_action_per_target on action (target) where state in ('acting', 'verifying');
create index action_by_time on action (created_at);
create index action_of_incident on action (incident_id);

-- What holds actions back: 'kill', 'pause', 'breaker', 'storm', and 'suspended:<kind>:<action>'. A row
-- whose end has passed no longer holds; it says when it let go.
create table brake
(
    brake      text   primary key,
    reason     text   not null,
    who        text   not null,
    begun_at   bigint not null,
    ends_at    bigint
);

-- Who may act. One holder; when it runs out, anyone may take it.
create table lease
(
    lease      text   primary key,
    holder     text   not null,
    ends_at    bigint not null
);

-- How often an action helped against a type of trouble. What was never tried is no evidence.
create view effectiveness as
select incident_kind, action,
       count(*) as attempts,
       sum(case when outcome = 'effective' then 1 else 0 end) as effective,
       sum(case when outcome in ('no_effect', 'unverified') then 1 else 0 end) as no_effect,
       sum(case when outcome = 'worse' then 1 else 0 end) as worse,
       sum(case when outcome = 'failed' then 1 else 0 end) as failed,
       cast(sum(case when outcome = 'effective' then 1 else 0 end) as double precision) / count(*) as share
from   action
where  outcome in ('effective', 'no_effect', 'worse', 'failed', 'unverified')
group  by incident_kind, action;

-- Seconds until an incident was believed, taken on, and over; whether anybody had to lift a hand.
create view incident_time as
select incident_id, component, kind, severity, opened_at,
       cast(opened_at - started_at as double precision) / 1000000 as detect_s,
       cast(acknowledged_at - opened_at as double precision) / 1000000 as acknowledge_s,
       cast(resolved_at - opened_at as double precision) / 1000000 as resolve_s,
       case when resolved_by = 'action' then 1 else 0 end as by_action,
       case when escalated_at is null then 0 else 1 end as escalated
from   incident
where  merged_into is null;
