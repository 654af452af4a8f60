-- One promise to tell one destination one thing.
--
-- A row is written in the same transaction as the fact it reports, so a fact that was recorded is a
-- fact that will be delivered. Delivered means at least once: receivers recognise a repeat by
-- delivery_id, which is the same in every attempt.
--
-- Times here and in every later table are microseconds since 1970 in UTC, as in the lake. The words
-- used are those that SQLite and PostgreSQL share, so that there is one schema and not two.
create table delivery
(
    delivery_id  text   primary key,
    destination  text   not null,
    payload      text   not null,

    -- pending -> delivered | dead. Nothing leaves `delivered` or `dead` except by hand.
    state        text   not null default 'pending',
    attempts     bigint not null default 0,
    due_at       bigint not null,
    created_at   bigint not null,

    -- Whoever holds the lease may send; when it runs out, anyone may.
    leased_by    text,
    leased_until bigint,

    constraint delivery_state_is_known check (state in ('pending', 'delivered', 'dead')),
    constraint lease_is_whole check ((leased_by is null) = (leased_until is null))
);

-- What a worker asks for on every tick.
create index delivery_due on delivery (due_at) where state = 'pending';

-- What happened each time somebody tried. Kept, because "did they get it?" is asked later, by people.
create table attempt
(
    delivery_id text   not null references delivery (delivery_id) on delete cascade,
    number      bigint not null,
    ended_at    bigint not null,
    outcome     text   not null,
    detail      text   not null,

    primary key (delivery_id, number),
    constraint attempt_outcome_is_known
        check (outcome in ('delivered', 'transient', 'throttled', 'permanent'))
);
