-- name: by_ids
-- The backups of these ids, with what their runs say of them.
select
    backups.id,
    backups.hub_id,
    backups.container_id,
    backups.instance_id,
    backups.instance_hostname,
    backups.integration_id,
    integrations.bucket,
    backups.state,
    backups.trigger,
    backups.created_at,
    runs.started_at,
    runs.finished_at,
    backups.backup_command,
    backups.restore_command,
    backups.object_name,
    backups.file_id,
    backups.size_bytes,
    backups.sha256,
    backups.size_dropped,
    backups.pinned,
    backups.note,
    backups.storage_status,
    backups.storage_checked_at,
    runs.exit_code,
    runs.error_code,
    runs.error_message,
    runs.bytes_read,
    runs.bytes_stored,
    runs.bytes_per_second,
    runs.progress_at,
    runs.log_bytes,
    runs.log_truncated,
    runs.requested_by_kind,
    runs.requested_by_id,
    runs.requested_by_name,
    backups.deletion_requested_by_kind,
    backups.deletion_requested_by_id,
    backups.deletion_requested_by_name,
    backups.retention_code,
    backups.retention_reason
from backups
join runs on runs.id = backups.id
join integrations on integrations.id = backups.integration_id
where backups.hub_id = $1 and backups.id = any($2::uuid[]);

-- name: newest_ids
-- A page of the hub's backups between two places, newest first.
select id
from backups
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and state = any($6::text[])
    and ($7::uuid is null or instance_id = $7)
    and ($8::text is null or trigger = $8)
order by created_at desc, id desc
limit $9;

-- name: oldest_ids
-- A page of the hub's backups between two places, oldest first.
select id
from backups
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and state = any($6::text[])
    and ($7::uuid is null or instance_id = $7)
    and ($8::text is null or trigger = $8)
order by created_at, id
limit $9;

-- name: newest_ids_by_container
-- A page of each container's backups between two places, newest first.
select parents.id as parent_id, page.id
from unnest($10::uuid[]) as parents (id)
cross join lateral (
    select backups.id, backups.created_at
    from backups
    where backups.hub_id = $1
        and backups.container_id = parents.id
        and (backups.created_at, backups.id) > ($2::timestamptz, $3::uuid)
        and (backups.created_at, backups.id) < ($4::timestamptz, $5::uuid)
        and backups.state = any($6::text[])
        and ($7::uuid is null or backups.instance_id = $7)
        and ($8::text is null or backups.trigger = $8)
    order by backups.created_at desc, backups.id desc
    limit $9
) as page
order by parents.id, page.created_at desc, page.id desc;

-- name: oldest_ids_by_container
-- A page of each container's backups between two places, oldest first.
select parents.id as parent_id, page.id
from unnest($10::uuid[]) as parents (id)
cross join lateral (
    select backups.id, backups.created_at
    from backups
    where backups.hub_id = $1
        and backups.container_id = parents.id
        and (backups.created_at, backups.id) > ($2::timestamptz, $3::uuid)
        and (backups.created_at, backups.id) < ($4::timestamptz, $5::uuid)
        and backups.state = any($6::text[])
        and ($7::uuid is null or backups.instance_id = $7)
        and ($8::text is null or backups.trigger = $8)
    order by backups.created_at, backups.id
    limit $9
) as page
order by parents.id, page.created_at, page.id;

-- name: count_all
-- How many backups of the hub a filter lets through.
select count(*)
from backups
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and state = any($6::text[])
    and ($7::uuid is null or instance_id = $7)
    and ($8::text is null or trigger = $8);

-- name: count_by_container
-- How many backups of each container a filter lets through; a container without any has no row.
select container_id as parent_id, count(*) as backups
from backups
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and state = any($6::text[])
    and ($7::uuid is null or instance_id = $7)
    and ($8::text is null or trigger = $8)
    and container_id = any($9::uuid[])
group by container_id;

-- name: last_live_ids
-- The newest LIVE backup of each container that has one.
select parents.id as parent_id, page.id
from unnest($2::uuid[]) as parents (id)
cross join lateral (
    select backups.id
    from backups
    where backups.hub_id = $1
        and backups.container_id = parents.id
        and backups.state = 'LIVE'
    order by backups.created_at desc, backups.id desc
    limit 1
) as page;

-- name: stored_bytes
-- The bytes of the objects that each container's backups have in the bucket.
select container_id, coalesce(sum(size_bytes), 0)::bigint as bytes
from backups
where hub_id = $1 and container_id = any($2::uuid[]) and state in ('LIVE', 'DELETING')
group by container_id;

-- name: stored_bytes_of_hub
-- The bytes of the objects that all backups of the hub have in the bucket.
select coalesce(sum(size_bytes), 0)::bigint as bytes
from backups
where hub_id = $1 and state in ('LIVE', 'DELETING');

-- name: annotate
-- What people say of a locked backup.
update backups
set pinned = $3, note = $4
where hub_id = $1 and id = $2;
