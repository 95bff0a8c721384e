-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- runs.hold_containers
select id
from containers
where hub_id = $1 and id in (
    select backups.container_id
    from backups
    where backups.hub_id = $1 and backups.id = any($2::uuid[])
)
order by id asc
for no key update;

-- runs.lock_backups
select id, container_id, instance_hostname, state, trigger, pinned, note
from backups
where hub_id = $1 and id = any($2::uuid[])
order by id asc
for update;

-- backups.annotate
update backups
set pinned = $3, note = $4
where hub_id = $1 and id = $2;

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

COMMIT;
