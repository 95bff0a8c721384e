-- name: by_ids
-- The restores of these ids, with what their runs say of them.
select
    restores.id,
    restores.hub_id,
    restores.container_id,
    restores.instance_id,
    restores.backup_id,
    restores.safety_backup_id,
    restores.check_command,
    restores.state,
    restores.trigger,
    restores.phase,
    restores.bytes_total,
    restores.created_at,
    runs.bytes_delivered,
    runs.bytes_per_second,
    runs.progress_at,
    runs.started_at,
    runs.finished_at,
    runs.exit_code,
    runs.error_code,
    runs.error_message,
    runs.log_bytes,
    runs.log_truncated,
    runs.requested_by_kind,
    runs.requested_by_id,
    runs.requested_by_name
from restores
join runs on runs.id = restores.id
where restores.hub_id = $1 and restores.id = any($2::uuid[]);

-- name: newest_ids
-- A page of the hub's restores between two places, newest first.
select id
from restores
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and state = any($6::text[])
    and ($7::uuid is null or instance_id = $7)
order by created_at desc, id desc
limit $8;

-- name: oldest_ids
-- A page of the hub's restores between two places, oldest first.
select id
from restores
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and state = any($6::text[])
    and ($7::uuid is null or instance_id = $7)
order by created_at, id
limit $8;

-- name: newest_ids_by_container
-- A page of each container's restores between two places, newest first.
select parents.id as parent_id, page.id
from unnest($9::uuid[]) as parents (id)
cross join lateral (
    select restores.id, restores.created_at
    from restores
    where restores.hub_id = $1
        and (restores.created_at, restores.id) > ($2::timestamptz, $3::uuid)
        and (restores.created_at, restores.id) < ($4::timestamptz, $5::uuid)
        and restores.state = any($6::text[])
        and ($7::uuid is null or restores.instance_id = $7)
        and restores.container_id = parents.id
    order by restores.created_at desc, restores.id desc
    limit $8
) as page
order by parents.id, page.created_at desc, page.id desc;

-- name: oldest_ids_by_container
-- A page of each container's restores between two places, oldest first.
select parents.id as parent_id, page.id
from unnest($9::uuid[]) as parents (id)
cross join lateral (
    select restores.id, restores.created_at
    from restores
    where restores.hub_id = $1
        and (restores.created_at, restores.id) > ($2::timestamptz, $3::uuid)
        and (restores.created_at, restores.id) < ($4::timestamptz, $5::uuid)
        and restores.state = any($6::text[])
        and ($7::uuid is null or restores.instance_id = $7)
        and restores.container_id = parents.id
    order by restores.created_at, restores.id
    limit $8
) as page
order by parents.id, page.created_at, page.id;

-- name: newest_ids_by_backup
-- A page of each backup's restores between two places, newest first.
select parents.id as parent_id, page.id
from unnest($9::uuid[]) as parents (id)
cross join lateral (
    select restores.id, restores.created_at
    from restores
    where restores.hub_id = $1
        and (restores.created_at, restores.id) > ($2::timestamptz, $3::uuid)
        and (restores.created_at, restores.id) < ($4::timestamptz, $5::uuid)
        and restores.state = any($6::text[])
        and ($7::uuid is null or restores.instance_id = $7)
        and restores.backup_id = parents.id
    order by restores.created_at desc, restores.id desc
    limit $8
) as page
order by parents.id, page.created_at desc, page.id desc;

-- name: oldest_ids_by_backup
-- A page of each backup's restores between two places, oldest first.
select parents.id as parent_id, page.id
from unnest($9::uuid[]) as parents (id)
cross join lateral (
    select restores.id, restores.created_at
    from restores
    where restores.hub_id = $1
        and (restores.created_at, restores.id) > ($2::timestamptz, $3::uuid)
        and (restores.created_at, restores.id) < ($4::timestamptz, $5::uuid)
        and restores.state = any($6::text[])
        and ($7::uuid is null or restores.instance_id = $7)
        and restores.backup_id = parents.id
    order by restores.created_at, restores.id
    limit $8
) as page
order by parents.id, page.created_at, page.id;

-- name: count_all
-- How many restores of the hub a filter lets through.
select count(*)
from restores
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and state = any($6::text[])
    and ($7::uuid is null or instance_id = $7);

-- name: count_by_container
-- How many restores of each container a filter lets through; one without any has no row.
select container_id as parent_id, count(*) as restores
from restores
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and state = any($6::text[])
    and ($7::uuid is null or instance_id = $7)
    and container_id = any($8::uuid[])
group by container_id;

-- name: count_by_backup
-- How many restores of each backup a filter lets through; one without any has no row.
select backup_id as parent_id, count(*) as restores
from restores
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and state = any($6::text[])
    and ($7::uuid is null or instance_id = $7)
    and backup_id = any($8::uuid[])
group by backup_id;
