-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- drifts.lock
select
    id, hub_id, integration_id, kind, detail, name, file_id, size_bytes, uploaded_at, backup_id, created_at,
    resolved_at, resolution, adopt_at is not null as adopting, bytes_read, error_code, error_message
from drifts
where hub_id = $1 and id = $2 and shown_at is not null
for update;

-- drifts.is_recorded
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

-- drifts.reclaim
insert into reclaims (hub_id, integration_id, kind, name, file_id)
values ($1, $2, $3, $4, $5);

-- drifts.other_objects
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

-- drifts.manifests_of
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

-- drifts.resolve
update drifts
set resolved_at = now(), resolution = $3, adopt_at = null
where hub_id = $1 and id = $2 and resolved_at is null;

-- drifts.by_ids
select
    id, hub_id, integration_id, kind, detail, name, file_id, size_bytes, uploaded_at, backup_id, created_at,
    resolved_at, resolution, adopt_at is not null as adopting, bytes_read, error_code, error_message
from drifts
where hub_id = $1 and id = any($2::uuid[]) and shown_at is not null
order by id
limit cardinality($2::uuid[]);

COMMIT;
