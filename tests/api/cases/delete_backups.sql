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

-- runs.read_by_runs
select restores.backup_id
from restores
inner join runs on runs.id = restores.id
where restores.hub_id = $1 and restores.backup_id = any($2::uuid[]) and runs.finished_at is null
union
select saves.id
from runs as saves
inner join runs on runs.id = saves.carried_by
where saves.hub_id = $1 and saves.id = any($2::uuid[]) and runs.finished_at is null
union
select verifications.backup_id
from verifications
inner join runs on runs.id = verifications.id
where verifications.hub_id = $1
    and verifications.backup_id = any($2::uuid[])
    and runs.finished_at is null;

-- runs.move_backup
update backups
set
    state = $4,
    deleted_by = coalesce($5, deleted_by),
    deleting_since = case when $4 = 'DELETING' then now() else deleting_since end,
    deleted_at = case when $4 = 'DELETED' then now() end
where hub_id = $1 and id = $2 and state = $3
returning id;

-- runs.record_deleter
update backups
set deletion_requested_by_kind = $3, deletion_requested_by_id = $4, deletion_requested_by_name = $5
where hub_id = $1 and id = any($2::uuid[]);

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
