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

-- containers.by_ids
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- doubts.open_since
select instances.id, min(instance_doubts.since) as since
from instances
inner join instance_doubts
    on instance_doubts.hub_id = instances.hub_id
    and instance_doubts.container_id = instances.container_id
    and instance_doubts.hostname = instances.hostname
    and instance_doubts.ended_at is null
where instances.hub_id = $1 and instances.id = any($2::uuid[])
group by instances.id;

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

-- retention.candidates
with being_read as (
    select unnest(array[restores.backup_id, restores.safety_backup_id]) as backup_id
    from runs
    inner join restores on restores.id = runs.id
    where runs.hub_id = $1 and runs.finished_at is null
    union all
    select verifications.backup_id
    from runs
    inner join verifications on verifications.id = runs.id
    where runs.hub_id = $1 and runs.finished_at is null
)

select
    backups.id,
    backups.container_id,
    backups.instance_hostname,
    backups.trigger,
    backups.created_at,
    coalesce(runs.finished_at, backups.created_at) as live_at,
    backups.pinned,
    backups.storage_status,
    coalesce(
        (
            select verifications.state = 'FAILED'
            from verifications
            inner join runs as tried on tried.id = verifications.id
            where verifications.hub_id = $1
                and verifications.backup_id = backups.id
                and verifications.state in ('PASSED', 'FAILED')
                -- What was only in the way says nothing of the backup.
                and (verifications.state = 'PASSED' or tried.error_code = any($3::text[]))
            order by verifications.created_at desc, verifications.id desc
            limit 1
        ),
        false
    ) as verification_failed,
    exists (
        select
        from instance_doubts
        where instance_doubts.hub_id = $1
            and instance_doubts.container_id = backups.container_id
            and instance_doubts.hostname = backups.instance_hostname
            and instance_doubts.since <= coalesce(runs.started_at, backups.created_at)
            and coalesce(instance_doubts.ended_at > coalesce(runs.started_at, backups.created_at), true)
    ) as in_doubt,
    backups.id in (select being_read.backup_id from being_read) as is_read,
    now() as now
from backups
-- One by one, by their ids, however many runs the planner believes there are.
cross join lateral (
    select of_one.started_at, of_one.finished_at
    from runs as of_one
    where of_one.id = backups.id
    limit 1
) as runs
where backups.hub_id = $1 and backups.container_id = any($2::uuid[]) and backups.state = 'LIVE'
order by backups.created_at desc, backups.id desc;

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
