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
