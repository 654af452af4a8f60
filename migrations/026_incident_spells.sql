-- Each time that an incident lasted. One that comes back soon is the same incident, but it was not bad
-- in between, and it may have come back as something else.
create table incident_spell
(
    incident_id text   not null references incident (incident_id) on delete cascade,

    -- 0 for the first time, then as `incident.reopened` counts.
    number      bigint not null,
    kind        text   not null,
    severity    text   not null,

    -- As of the incident: first seen bad, believed, over.
    started_at  bigint not null,
    opened_at   bigint not null,
    ended_at    bigint,

    primary key (incident_id, number),
    constraint no_spell_ends_before_it_began check (ended_at is null or ended_at >= opened_at)
);

-- Of those from before nobody kept when they were over in between.
insert into incident_spell (incident_id, number, kind, severity, started_at, opened_at, ended_at)
select incident_id, reopened, kind, severity, started_at, opened_at,
       case when resolved_at < opened_at then opened_at else resolved_at end
from   incident;

-- When one that came back was first seen bad again.
alter table incident add column back_at bigint;

-- Made anew with the new column.
drop index if exists incident_twice;
