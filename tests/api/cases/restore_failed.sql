-- restores.by_ids
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

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
