-- name: by_ids
-- Several disagreements by id.
select
    id, hub_id, integration_id, kind, detail, name, file_id, size_bytes, uploaded_at, backup_id, created_at,
    resolved_at, resolution, adopt_at is not null as adopting, bytes_read, error_code, error_message
from drifts
where hub_id = $1 and id = any($2::uuid[]) and shown_at is not null
order by id
limit cardinality($2::uuid[]);

-- name: lock
-- One disagreement, for a change that nothing else may see half done.
select
    id, hub_id, integration_id, kind, detail, name, file_id, size_bytes, uploaded_at, backup_id, created_at,
    resolved_at, resolution, adopt_at is not null as adopting, bytes_read, error_code, error_message
from drifts
where hub_id = $1 and id = $2 and shown_at is not null
for update;

-- name: page_down
-- A page of what is not resolved, newest first, between two places that are not in it.
select
    id, hub_id, integration_id, kind, detail, name, file_id, size_bytes, uploaded_at, backup_id, created_at,
    resolved_at, resolution, adopt_at is not null as adopting, bytes_read, error_code, error_message
from drifts
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and shown_at is not null
    and resolved_at is null
    and ($6::uuid is null or integration_id = $6)
    and ($7::text[] is null or kind = any($7))
order by created_at desc, id desc
limit $8;

-- name: page_up
-- A page of what is not resolved, oldest first, between two places that are not in it.
select
    id, hub_id, integration_id, kind, detail, name, file_id, size_bytes, uploaded_at, backup_id, created_at,
    resolved_at, resolution, adopt_at is not null as adopting, bytes_read, error_code, error_message
from drifts
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and shown_at is not null
    and resolved_at is null
    and ($6::uuid is null or integration_id = $6)
    and ($7::text[] is null or kind = any($7))
order by created_at asc, id asc
limit $8;

-- name: count
-- How many there are in a list.
select count(*)
from drifts
where hub_id = $1
    and shown_at is not null
    and resolved_at is null
    and ($2::uuid is null or integration_id = $2)
    and ($3::text[] is null or kind = any($3));

-- name: resolve
-- Somebody has decided about it.
update drifts
set resolved_at = now(), resolution = $3, adopt_at = null
where hub_id = $1 and id = $2 and resolved_at is null;

-- name: resolve_of_backup
-- Somebody has decided about what is wrong with a backup.
update drifts
set resolved_at = now(), resolution = $3
where hub_id = $1
    and backup_id = $2
    and resolved_at is null
    and kind in ('MISSING', 'MISMATCH')
    and detail <> 'MANIFEST';

-- name: resolve_of_integration
-- Nobody has to look into the bucket any more.
update drifts
set resolved_at = now(), resolution = $3, adopt_at = null
where hub_id = $1 and integration_id = $2 and resolved_at is null;

-- name: is_recorded
-- Whether a record accounts for a version of an object or of its manifest, or may come to.
select exists (
    select
    from backups
    where hub_id = $1
        and integration_id = $2
        and object_name collate "C" = $3
        and (
            state in ('QUEUED', 'SAVING')
            or (state in ('LIVE', 'DELETING') and (file_id = $4 or manifest_file_id = $4))
        )
);

-- name: other_objects
-- Whether another version of an orphan's name, or a record of it, is left that a manifest may belong to.
select exists (
    select
    from drifts
    where hub_id = $1
        and integration_id = $2
        and kind = 'ORPHAN'
        and detail = 'OBJECT'
        and name = $3
        and id <> $4
        and resolved_at is null
) or exists (
    select
    from backups
    where hub_id = $1
        and integration_id = $2
        and object_name collate "C" = $3
        and state in ('QUEUED', 'SAVING', 'LIVE', 'DELETING')
);

-- name: manifests_of
-- The orphaned manifests of an orphan.
select id, file_id
from drifts
where hub_id = $1
    and integration_id = $2
    and kind = 'ORPHAN'
    and detail = 'MANIFEST'
    and name = $3
    and resolved_at is null
order by id
limit 100;

-- name: reclaim
-- The promise to remove exactly one version, or one unfinished upload.
insert into reclaims (hub_id, integration_id, kind, name, file_id)
values ($1, $2, $3, $4, $5);

-- name: request_adoption
-- An orphan is to be made a backup; a worker reads it first.
update drifts
set
    adopt_at = clock_timestamp(),
    adopt_container_id = $3,
    adopt_hostname = $4,
    bytes_read = 0,
    error_code = null,
    error_message = null
where hub_id = $1 and id = $2;

-- name: accept_loss
-- The object of a LIVE backup is gone, and somebody has accepted that.
update backups
set storage_status = 'LOSS_ACCEPTED', storage_checked_at = now()
where hub_id = $1 and id = $2 and state = 'LIVE' and storage_status = 'MISSING'
returning id;
