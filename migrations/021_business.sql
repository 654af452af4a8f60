-- What people who pay for it ask: did it arrive, whom did it hurt?
--
-- Deliveries are removed when nobody will ask for them one by one any more. How many there were is
-- still asked, so they are counted before they go.
create table delivery_day
(
    -- Midnight in UTC of the day on which they were finished.
    day_at      bigint not null,
    destination text   not null,
    delivered   bigint not null default 0,
    dead        bigint not null default 0,

    primary key (day_at, destination)
);

-- The share of users that is hurt when a component does not work, 0 to 1. It is configured; it lies
-- here so that questions can be asked with it.
create table component_criticality
(
    component   text             primary key,
    criticality double precision not null,

    constraint criticality_is_a_share check (criticality >= 0 and criticality <= 1)
);
