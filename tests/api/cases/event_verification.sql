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

-- events.page_up
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

-- hubs.get
select id, name, created_at
from hubs
where id = $1;

-- verifications.by_ids
select
    verifications.id,
    verifications.hub_id,
    verifications.container_id,
    verifications.instance_id,
    verifications.backup_id,
    verifications.level,
    verifications.state,
    verifications.bytes_total,
    verifications.created_at,
    greatest(runs.bytes_read, runs.bytes_delivered) as bytes_checked,
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
from verifications
join runs on runs.id = verifications.id
where verifications.hub_id = $1 and verifications.id = any($2::uuid[]);

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
