-- Promises to tell a destination something, kept until it was told.
--
-- A delivery is written in the same transaction as the fact it reports, so a fact that was recorded is
-- a fact that will be delivered. Delivered means at least once: receivers recognise a repeat by
-- delivery_id, which is the same in every attempt.
--
-- Times here and in every later table are microseconds since 1970 in UTC, as in the lake. The words
-- used are those that SQLite and PostgreSQL share, so that there is one schema and not two.

-- Where something can be told. What is secret about it lies in the next table, which SQL never shows.
create table destination
(
    destination  text   primary key,
    kind         text   not null,

    -- Whose it is; null means anybody's. A delivery of another tenant never goes there.
    tenant       text,
    origin       text   not null,
    created_at   bigint not null,

    -- A person, or an action, said stop.
    paused_at    bigint,
    paused_why   text,

    -- The circuit breaker: failures in a row, and until when nobody tries. Kept, because a restart
    -- must not begin an outage of the receiver anew.
    failures     bigint not null default 0,
    open_until   bigint,

    -- When it last took something, and when it last did not.
    confirmed_at bigint,
    failed_at    bigint,

    constraint destination_origin_is_known check (origin in ('api', 'configuration')),
    constraint pause_is_whole check ((paused_at is null) = (paused_why is null))
);

-- Addresses with tokens in them, passwords, and the keys that sign.
create table destination_secret
(
    destination text primary key references destination (destination) on delete cascade,
    settings    text not null,
    signing     text not null
);

-- One promise to tell one destination one thing. Narrow on purpose: it is written again with every
-- attempt, and what it says is not.
create table delivery
(
    delivery_id     text   primary key,
    tenant          text   not null default '',
    idempotency_key text   not null,

    -- Of everything that was asked for: the same key with something else is a mistake of the sender.
    fingerprint     text   not null,

    -- Where it goes now, and where it may go when that fails, as a JSON list.
    destination     text   not null,
    route           text,

    -- pending -> delivered | dead; waiting stands in line behind another with its ordering key;
    -- quarantined is not sent to anybody until a person says whose it is.
    state           text   not null default 'pending',
    reason          text,
    ordering_key    text,

    -- Attempts of all time; failures at this destination since it was begun or redriven.
    attempts        bigint not null default 0,
    failures        bigint not null default 0,

    created_at      bigint not null,
    begun_at        bigint not null,
    due_at          bigint not null,
    expires_at      bigint,
    finished_at     bigint,

    -- Whoever holds the lease may send; when it runs out, anyone may.
    leased_by       text,
    leased_until    bigint,

    constraint delivery_state_is_known
        check (state in ('pending', 'waiting', 'delivered', 'dead', 'quarantined')),
    constraint lease_is_whole check ((leased_by is null) = (leased_until is null))
);

-- What was promised already is not promised twice.
create unique index one_delivery_per_key on delivery (tenant, idempotency_key);

-- What a worker asks for on every turn.
create index delivery_due on delivery (destination, due_at, delivery_id) where state = 'pending';

-- Who stands in line before whom.
create index delivery_in_line on delivery (destination, ordering_key, created_at)
    where ordering_key is not null and state in ('pending', 'waiting');

-- What people look for, and what is removed when nobody will any more.
create index delivery_set_aside on delivery (state, delivery_id)
    where state in ('waiting', 'dead', 'quarantined');
create index delivery_finished on delivery (finished_at) where finished_at is not null;

-- What is told, as it was handed over. Never changed.
create table delivery_payload
(
    delivery_id text primary key references delivery (delivery_id) on delete cascade,
    payload     text not null
);

-- What happened each time somebody tried. Kept, because "did they get it?" is asked later, by people.
create table attempt
(
    delivery_id text   not null references delivery (delivery_id) on delete cascade,
    number      bigint not null,
    destination text   not null,
    ended_at    bigint not null,
    duration_ms bigint not null,
    outcome     text   not null,

    -- The status of the answer, where the protocol has one, and how the answer began.
    status      bigint,
    detail      text   not null,
    answer      text,

    primary key (delivery_id, number),
    constraint attempt_outcome_is_known
        check (outcome in ('delivered', 'transient', 'throttled', 'permanent'))
);
