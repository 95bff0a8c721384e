-- name: page_down
-- A page of what is still to be removed, newest first, between two places that are not in it.
select id, integration_id, backup_id, kind, name, not_before, attempts, error_code, error_message,
    created_at, confirmed_at, stuck_at, now() - created_at as age
from reclaims
where hub_id = $1
    and settled_at is null
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
order by created_at desc, id desc
limit $6;

-- name: page_up
-- A page of what is still to be removed, oldest first, between two places that are not in it.
select id, integration_id, backup_id, kind, name, not_before, attempts, error_code, error_message,
    created_at, confirmed_at, stuck_at, now() - created_at as age
from reclaims
where hub_id = $1
    and settled_at is null
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
order by created_at asc, id asc
limit $6;

-- name: count
-- How much is still to be removed.
select count(*)
from reclaims
where hub_id = $1 and settled_at is null;

-- name: abandon
-- What could not be removed from an integration's bucket so far is not tried again.
update reclaims
set settled_at = now(), abandoned = true, stuck_at = null
where hub_id = $1 and integration_id = $2 and settled_at is null and error_code is not null
returning id, backup_id, name;

-- name: by_ids
-- Several by id, where they are still to be removed.
select id, integration_id, backup_id, kind, name, not_before, attempts, error_code, error_message,
    created_at, confirmed_at, stuck_at, now() - created_at as age
from reclaims
where hub_id = $1 and id = any ($2::uuid[]) and settled_at is null
order by id
limit cardinality($2::uuid[]);
