-- name: create
-- A new engine, to be looked at by a worker.
insert into engines (hub_id, id, name, address, host, authority, certificate, sealed_key, state)
values ($1, $2, $3, $4, $5, $6, $7, $8, 'VERIFYING')
returning id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems;

-- name: by_ids
-- Several engines by id.
select id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems
from engines
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- name: lock
-- One engine, that nobody changes meanwhile.
select id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems
from engines
where hub_id = $1 and id = $2
for update;

-- name: hold
-- One engine that must stay as it is until the transaction ends.
select id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems
from engines
where hub_id = $1 and id = $2
for share;

-- name: change
-- Another name or other certificates; null keeps what is there.
update engines
set
    name = coalesce($3, name),
    authority = coalesce($4, authority),
    certificate = coalesce($5, certificate),
    sealed_key = coalesce($6, sealed_key),
    check_at = now()
where hub_id = $1 and id = $2
returning id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems;

-- name: delete
-- The engine is gone, and its key.
update engines
set state = 'DELETED', sealed_key = null
where hub_id = $1 and id = $2
returning id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems;

-- name: count_instances
-- How many instances are containers there.
select count(*)
from instances
where hub_id = $1 and engine_id = $2 and removed_at is null;

-- name: page_down
-- A page of a list, newest first, between two places that are not in it.
select id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems
from engines
where hub_id = $1
    and state <> 'DELETED'
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
order by created_at desc, id desc
limit $6;

-- name: page_up
-- A page of a list, oldest first, between two places that are not in it.
select id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems
from engines
where hub_id = $1
    and state <> 'DELETED'
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
order by created_at asc, id asc
limit $6;

-- name: count
-- How many there are.
select count(*)
from engines
where hub_id = $1 and state <> 'DELETED';
