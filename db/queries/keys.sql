-- name: create
-- A new API key; only its hash is kept.
insert into api_keys (hub_id, name, prefix, hash, role, capabilities, expires_at)
values ($1, $2, $3, $4, $5, $6, $7)
returning id, hub_id, name, prefix, role, capabilities, created_at, expires_at, revoked_at;

-- name: by_ids
-- Several API keys by id.
select id, hub_id, name, prefix, role, capabilities, created_at, expires_at, revoked_at
from api_keys
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- name: page_down
-- A page of a list, newest first, between two places that are not in it.
select id, hub_id, name, prefix, role, capabilities, created_at, expires_at, revoked_at
from api_keys
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
order by created_at desc, id desc
limit $6;

-- name: page_up
-- A page of a list, oldest first, between two places that are not in it.
select id, hub_id, name, prefix, role, capabilities, created_at, expires_at, revoked_at
from api_keys
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
order by created_at asc, id asc
limit $6;

-- name: count
-- How many there are.
select count(*)
from api_keys
where hub_id = $1;

-- name: revoke
-- The key works no more; one that was revoked before stays as it is.
update api_keys
set revoked_at = coalesce(revoked_at, now())
where hub_id = $1 and id = $2
returning id, hub_id, name, prefix, role, capabilities, created_at, expires_at, revoked_at;

-- name: revoke_all
-- No key of the hub opens anything from now on.
update api_keys
set revoked_at = now()
where hub_id = $1 and revoked_at is null;
