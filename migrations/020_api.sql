-- Who may do what.
--
-- Only a hash of the key is kept: whoever reads this table cannot use it. A key is a long random
-- text, so a fast hash is enough; there is nothing to guess.
create table api_key
(
    api_key_id   text   primary key,
    name         text   not null,
    role         text   not null,
    key_hash     text   not null,
    created_at   bigint not null,
    expires_at   bigint,

    -- Written at most once a minute; it answers "may I remove this key?", not "who was here?".
    last_used_at bigint,
    revoked_at   bigint,

    constraint api_key_role_is_known check (role in ('viewer', 'writer', 'operator', 'admin')),
    constraint api_key_hash_is_unique unique (key_hash)
);

-- People call keys by name, so a name means one key; a revoked key gives its name back.
create unique index api_key_name_is_unique on api_key (name) where revoked_at is null;

-- The link of the first start. It turns into one administrator's key, once.
create table bootstrap_token
(
    token_hash text   primary key,
    created_at bigint not null,
    expires_at bigint not null,
    used_at    bigint
);

-- Who changed what. Never changed, only added to; the key is sorted by time.
create table audit
(
    audit_id text   primary key,
    at       bigint not null,
    who      text   not null,
    what     text   not null,
    detail   text   not null
);
