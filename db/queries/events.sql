-- name: add
-- Something that people are told of, as a row of the caller's transaction.
insert into events (
    hub_id, kind, message, container_id, instance_id, backup_id, restore_id, verification_id,
    integration_id, data
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
returning id;

-- name: by_ids
-- Several events by id.
select
    id, hub_id, kind, message, container_id, instance_id, backup_id, restore_id, verification_id,
    integration_id, data, created_at
from events
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- name: page_down
-- A page of the hub's events, newest first, between two places that are not in it.
select
    id, hub_id, kind, message, container_id, instance_id, backup_id, restore_id, verification_id,
    integration_id, data, created_at
from events
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and ($6::text[] is null or kind = any($6))
    and ($7::uuid is null or container_id = $7)
order by created_at desc, id desc
limit $8;

-- name: page_up
-- A page of the hub's events, oldest first, between two places that are not in it.
select
    id, hub_id, kind, message, container_id, instance_id, backup_id, restore_id, verification_id,
    integration_id, data, created_at
from events
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and ($6::text[] is null or kind = any($6))
    and ($7::uuid is null or container_id = $7)
order by created_at asc, id asc
limit $8;

-- name: count
-- How many events of the hub a filter lets through.
select count(*)
from events
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and ($6::text[] is null or kind = any($6))
    and ($7::uuid is null or container_id = $7);

-- name: last_number
-- The number of the hub's newest event; 0 where it has none.
select coalesce((
    select number
    from events
    where hub_id = $1 and number is not null
    order by number desc
    limit 1
), 0) as number;

-- name: following
-- The events after a number, in the order in which they became visible.
select
    id, hub_id, kind, message, container_id, instance_id, backup_id, restore_id, verification_id,
    integration_id, data, created_at, number
from events
where hub_id = $1 and number > $2 and ($3::text[] is null or kind = any($3))
order by number
limit $4;
