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

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
