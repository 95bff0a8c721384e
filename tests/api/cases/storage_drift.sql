-- backups.by_ids
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

-- drifts.count
select count(*)
from drifts
where hub_id = $1
    and shown_at is not null
    and resolved_at is null
    and ($2::uuid is null or integration_id = $2)
    and ($3::text[] is null or kind = any($3));

-- drifts.page_up
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

-- hubs.get
select id, name, created_at
from hubs
where id = $1;

-- integrations.by_ids
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
