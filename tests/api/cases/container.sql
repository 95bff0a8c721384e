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

-- backups.count_by_container
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

-- backups.last_live_ids
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

-- backups.newest_ids_by_container
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

-- backups.stored_bytes
select container_id, coalesce(sum(size_bytes), 0)::bigint as bytes
from backups
where hub_id = $1 and container_id = any($2::uuid[]) and state in ('LIVE', 'DELETING')
group by container_id;

-- containers.by_ids
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- policies.by_containers
select hub_id, container_id, integration_id, backup_command, backup_timeout, min_bytes,
    restore_command, restore_timeout, restore_check, restore_safety_backup,
    enabled, cron, time_zone, instances, overdue_after,
    max_age, keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly,
    pre_restore_max_age, verification_level, verification_every, verification_after_each,
    verification_check, sources,
    updated_at
from backup_policies
where hub_id = $1 and container_id = any ($2::uuid[])
order by container_id
limit cardinality($2::uuid[]);

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
