-- A key that lies on every host sends and reads nothing: the role `ingest`.
--
-- Neither database lets a check be changed in a way that the other understands, so the table is made
-- again. Nothing refers to it.
create table api_key_next
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

    constraint api_key_role_is_one_of_five
        check (role in ('ingest', 'viewer', 'writer', 'operator', 'admin')),
    constraint api_key_hash_is_one unique (key_hash)
);

insert into api_key_next
    (api_key_id, name, role, key_hash, created_at, expires_at, last_used_at, revoked_at)
select api_key_id, name, role, key_hash, created_at, expires_at, last_used_at, revoked_at
from api_key;

drop table api_key;

alter table api_key_next rename to api_key;

-- People call keys by name, so a name means one key; a revoked key gives its name back.
create unique index api_key_name_is_unique on api_key (name) where revoked_at is null;
