-- How each component was when it was last checked.
--
-- The history of health is a fact and lies in the lake. Here is only what changes: the state now, and
-- since when, which cannot be read from a window of history that retention may have cut.
create table component
(
    component  text   primary key,
    state      text   not null,

    -- 0 to 100; null when nothing could be measured, because unknown is not zero.
    score      double precision,

    -- When the present state began. A check that finds the same state again leaves it alone.
    since      bigint not null,
    checked_at bigint not null,

    constraint component_state_is_known
        check (state in ('healthy', 'degraded', 'unhealthy', 'unknown')),
    constraint unknown_has_no_score check (state <> 'unknown' or score is null)
);

-- A time in which what matches is not told to anybody. A maintenance window also holds actions back.
create table silence
(
    silence_id  text   primary key,

    -- JSON: [{"name": "component", "value": "web*", "equal": true}], all of which must match.
    matchers    text   not null,
    comment     text   not null,
    who         text   not null,
    maintenance bigint not null default 0,
    created_at  bigint not null,
    starts_at   bigint not null,
    ends_at     bigint not null,

    constraint silence_ends_after_its_start check (ends_at >= starts_at)
);
