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

-- verifications.count_by_backup
select backup_id as parent_id, count(*) as verifications
from verifications
where hub_id = $1
    and level = any($2::text[])
    and state = any($3::text[])
    and backup_id = any($4::uuid[])
group by backup_id;

-- verifications.last_ids
select parents.id as parent_id, newest.id
from unnest($2::uuid[]) as parents (id)
cross join lateral (
    select verifications.id
    from verifications
    where verifications.hub_id = $1 and verifications.backup_id = parents.id
    order by verifications.created_at desc, verifications.id desc
    limit 1
) as newest;

-- verifications.newest_ids_by_backup
select parents.id as parent_id, page.id
from unnest($9::uuid[]) as parents (id)
cross join lateral (
    select verifications.id, verifications.created_at
    from verifications
    where verifications.hub_id = $1
        and (verifications.created_at, verifications.id) > ($2::timestamptz, $3::uuid)
        and (verifications.created_at, verifications.id) < ($4::timestamptz, $5::uuid)
        and verifications.level = any($6::text[])
        and verifications.state = any($7::text[])
        and verifications.backup_id = parents.id
    order by verifications.created_at desc, verifications.id desc
    limit $8
) as page
order by parents.id, page.created_at desc, page.id desc;

-- verifications.newest_ids_by_backup
select parents.id as parent_id, page.id
from unnest($9::uuid[]) as parents (id)
cross join lateral (
    select verifications.id, verifications.created_at
    from verifications
    where verifications.hub_id = $1
        and (verifications.created_at, verifications.id) > ($2::timestamptz, $3::uuid)
        and (verifications.created_at, verifications.id) < ($4::timestamptz, $5::uuid)
        and verifications.level = any($6::text[])
        and verifications.state = any($7::text[])
        and verifications.backup_id = parents.id
    order by verifications.created_at desc, verifications.id desc
    limit $8
) as page
order by parents.id, page.created_at desc, page.id desc;

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
