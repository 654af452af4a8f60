-- One thing that is wrong with one target, from its first finding until it is resolved.
create table incident
(
    incident_id text   primary key,

    -- Findings with the same key are the same trouble: they update the incident that is not resolved
    -- yet and do not open a second one.
    dedupe_key  text   not null,
    title       text   not null,
    severity    text   not null,
    state       text   not null,
    opened_at   bigint not null,
    updated_at  bigint not null,
    resolved_at bigint,

    constraint incident_severity_is_known check (severity in ('info', 'warning', 'critical')),
    constraint incident_state_is_known check (state in ('open', 'acknowledged', 'resolved')),
    constraint resolved_has_a_time check ((state = 'resolved') = (resolved_at is not null))
);

-- The promise above, kept by the database even when two processes see the same finding at once.
create unique index one_unresolved_incident_per_key on incident (dedupe_key) where state <> 'resolved';

-- The timeline: what happened to an incident, in order. Never changed, only added to.
create table incident_event
(
    incident_id text   not null references incident (incident_id) on delete cascade,
    number      bigint not null,
    at          bigint not null,
    kind        text   not null,
    who         text   not null,
    detail      text   not null,

    primary key (incident_id, number),
    constraint incident_event_kind_is_known
        check (kind in ('opened', 'seen_again', 'escalated', 'acknowledged', 'resolved'))
);
