-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- containers.lock
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = $2
for no key update;

-- containers.begin_deletion
update containers
set deleting_since = now(), goes_at = now() + $3::interval, state = 'DELETING'
where hub_id = $1 and id = $2 and state = 'LIVE'
returning id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources;

-- schedules.remove
delete from schedules
where hub_id = $1 and container_id = any ($2::uuid[]);

-- containers.cancel_runs
with held as (
    select id
    from runs
    where hub_id = $1 and container_id = $2 and finished_at is null and carried_by is null
    order by id asc
    for update
)

update runs
set cancel = true
where hub_id = $1 and id in (select held.id from held)
returning id;

-- runs.delete_with_container
with held as (
    select id
    from backups
    where hub_id = $1 and container_id = $2 and state = 'LIVE'
    order by id asc
    for update
)

update backups
set state = 'DELETING', deleted_by = 'CASCADE', deleting_since = now()
where hub_id = $1 and id in (select held.id from held)
returning id, size_bytes, pinned;

-- runs.reclaim_stored
insert into reclaims (hub_id, integration_id, backup_id, kind, name, file_id, not_before, automatic)
select
    backups.hub_id,
    backups.integration_id,
    backups.id,
    'OBJECT',
    stored.name,
    stored.file_id,
    greatest(now() + $3::interval, $6::timestamptz),
    $5
from backups
cross join lateral (
    values (backups.object_name, backups.file_id),
    (backups.object_name || $4, backups.manifest_file_id)
) as stored (name, file_id)
where backups.hub_id = $1 and backups.id = any($2::uuid[]) and stored.file_id is not null;

COMMIT;

BEGIN;

-- containers.lock
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = $2
for no key update;

-- containers.end_deletion
update containers
set deleting_since = null, goes_at = null, state = 'LIVE'
where hub_id = $1 and id = $2 and state = 'DELETING' and goes_at > now()
returning id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources;

-- runs.hold_cascade
select reclaims.id, reclaims.attempts = 0 and reclaims.settled_at is null as untouched
from reclaims
inner join backups on backups.id = reclaims.backup_id
where backups.hub_id = $1
    and backups.container_id = $2
    and backups.state = 'DELETING'
    and backups.deleted_by = 'CASCADE'
    and reclaims.kind = 'OBJECT'
order by reclaims.id asc
for update of reclaims;

-- runs.unreclaim
delete from reclaims
where hub_id = $1 and id = any($2::uuid[]);

-- runs.undelete_with_container
update backups
set state = 'LIVE', deleted_by = null, deleting_since = null
where hub_id = $1 and container_id = $2 and state = 'DELETING' and deleted_by = 'CASCADE'
returning id;

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

-- containers.look
select
    state,
    now() as at,
    array(
        select backups.id
        from backups
        where backups.hub_id = $1
            and backups.container_id = $2
            and backups.created_at > now() - $3::interval
        order by backups.created_at desc, backups.id desc
        limit $4
    ) as recent
from containers
where hub_id = $1 and id = $2;

-- schedules.put
-- missed and nobody has seen to is caught up first.
insert into schedules (hub_id, container_id, due_at, next_at)
values ($1, $2, $3, $4)
on conflict (container_id) do update
set
    due_at = case when schedules.next_at <= now() then schedules.due_at else excluded.due_at end,
    next_at = case when schedules.next_at <= now() then schedules.next_at else excluded.next_at end;

COMMIT;

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
