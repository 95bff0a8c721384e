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

-- containers.count
select count(*)
from containers
where hub_id = $1
    and ($2::text is null or identifier = $2)
    and ($3::boolean is null or stateful = $3)
    and state = any ($4::text[]);

-- containers.page_down
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
    and ($6::text is null or identifier = $6)
    and ($7::boolean is null or stateful = $7)
    and state = any ($8::text[])
order by created_at desc, id desc
limit $9;

-- instances.counts
select container_id, count(*) as instances
from instances
where hub_id = $1
    and container_id = any ($2::uuid[])
    and removed_at is null
    and ($3::text is null or hostname = $3)
    and ($4::text[] is null or state = any ($4))
    and ($5::boolean is null or scratch = $5)
group by container_id
order by container_id
limit cardinality($2::uuid[]);

-- instances.pages_up
select found.id, found.hub_id, found.container_id, found.hostname, found.state, found.executor, found.host, found.folder, found.engine_id, found.engine_container, found.command_user, found.variable_names, found.scratch, found.created_at, found.removed_at, found.replica, found.sources
from unnest($2::uuid[]) as parents (id)
cross join lateral (
    select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
        engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
    from instances
    where hub_id = $1
        and container_id = parents.id
        and (created_at, id) < ($3::timestamptz, $4::uuid)
        and (created_at, id) > ($5::timestamptz, $6::uuid)
        and removed_at is null
        and ($7::text is null or hostname = $7)
        and ($8::text[] is null or state = any ($8))
        and ($9::boolean is null or scratch = $9)
    order by created_at asc, id asc
    limit $10
) as found
order by found.container_id asc, found.created_at asc, found.id asc;

-- integrations.by_ids
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
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

-- restores.count_by_container
select container_id as parent_id, count(*) as restores
from restores
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and state = any($6::text[])
    and ($7::uuid is null or instance_id = $7)
    and container_id = any($8::uuid[])
group by container_id;

-- restores.newest_ids_by_container
select parents.id as parent_id, page.id
from unnest($9::uuid[]) as parents (id)
cross join lateral (
    select restores.id, restores.created_at
    from restores
    where restores.hub_id = $1
        and (restores.created_at, restores.id) > ($2::timestamptz, $3::uuid)
        and (restores.created_at, restores.id) < ($4::timestamptz, $5::uuid)
        and restores.state = any($6::text[])
        and ($7::uuid is null or restores.instance_id = $7)
        and restores.container_id = parents.id
    order by restores.created_at desc, restores.id desc
    limit $8
) as page
order by parents.id, page.created_at desc, page.id desc;

-- schedules.by_containers
-- That nobody carried out a due time is no reason to believe that nothing was due.
select
    schedules.container_id,
    schedules.due_at,
    schedules.next_at,
    case when late.since <= now() then late.since end as overdue_since
from schedules
inner join backup_policies on backup_policies.container_id = schedules.container_id
cross join lateral (
    select least(
        schedules.expected_by,
        schedules.next_at + greatest(backup_policies.overdue_after, 2 * schedules.last_duration)
    ) as since
) as late
where schedules.hub_id = $1 and schedules.container_id = any ($2::uuid[])
order by schedules.container_id
limit cardinality($2::uuid[]);

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
