-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- hubs.get
select id, name, created_at
from hubs
where id = $1;

ROLLBACK;

BEGIN;

-- hubs.get
select id, name, created_at
from hubs
where id = $1;

-- hubs.begin_deletion
update hubs
set deleting_since = now()
where id = $1 and deleting_since is null
returning id, name, created_at;

-- containers.live
select id
from containers
where hub_id = $1 and state = 'LIVE'
order by id asc
limit $2;

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

-- integrations.there
select id
from integrations
where hub_id = $1 and state in ('VERIFYING', 'LIVE', 'FAILED')
order by id asc
limit $2;

-- integrations.lock
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2
for no key update;

-- integrations.remove_policies
delete from backup_policies
where hub_id = $1 and integration_id = $2
returning container_id;

-- schedules.remove
delete from schedules
where hub_id = $1 and container_id = any ($2::uuid[]);

-- integrations.cancel_runs
with held as (
    select runs.id
    from runs
    where runs.hub_id = $1
        and runs.finished_at is null
        and runs.carried_by is null
        and (
            exists (
                select
                from backups
                where backups.hub_id = $1 and backups.id = runs.id and backups.integration_id = $2
            )
            or exists (
                select
                from restores
                inner join backups on backups.id = restores.backup_id
                where restores.hub_id = $1 and restores.id = runs.id and backups.integration_id = $2
            )
            or exists (
                select
                from restores
                inner join backups on backups.id = restores.safety_backup_id
                where restores.hub_id = $1 and restores.id = runs.id and backups.integration_id = $2
            )
            or exists (
                select
                from verifications
                inner join backups on backups.id = verifications.backup_id
                where verifications.hub_id = $1
                    and verifications.id = runs.id
                    and backups.integration_id = $2
            )
        )
    order by runs.id asc
    for update
)

update runs
set cancel = true
where hub_id = $1 and id in (select held.id from held)
returning id;

-- runs.keep_gone
update backups
set deleted_by = 'ITSELF'
where hub_id = $1 and integration_id = $2 and state = 'DELETING' and deleted_by = 'CASCADE';

-- runs.delete_with_integration
with held as (
    select id
    from backups
    where hub_id = $1 and integration_id = $2 and state = 'LIVE'
    order by id asc
    for update
)

update backups
set state = 'DELETING', deleted_by = 'ITSELF', deleting_since = now()
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

-- integrations.delete
update integrations
set
    sealed_key = case when verified_at is null then null else sealed_key end,
    next_key_id = null,
    next_sealed_key = null,
    state = case when verified_at is null then 'DELETED' else 'DELETING' end
where hub_id = $1 and id = $2 and state <> 'DELETED'
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

-- drifts.resolve_of_integration
update drifts
set resolved_at = now(), resolution = $3, adopt_at = null
where hub_id = $1 and integration_id = $2 and resolved_at is null;

-- integrations.lock
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2
for no key update;

-- integrations.remove_policies
delete from backup_policies
where hub_id = $1 and integration_id = $2
returning container_id;

-- schedules.remove
delete from schedules
where hub_id = $1 and container_id = any ($2::uuid[]);

-- integrations.cancel_runs
with held as (
    select runs.id
    from runs
    where runs.hub_id = $1
        and runs.finished_at is null
        and runs.carried_by is null
        and (
            exists (
                select
                from backups
                where backups.hub_id = $1 and backups.id = runs.id and backups.integration_id = $2
            )
            or exists (
                select
                from restores
                inner join backups on backups.id = restores.backup_id
                where restores.hub_id = $1 and restores.id = runs.id and backups.integration_id = $2
            )
            or exists (
                select
                from restores
                inner join backups on backups.id = restores.safety_backup_id
                where restores.hub_id = $1 and restores.id = runs.id and backups.integration_id = $2
            )
            or exists (
                select
                from verifications
                inner join backups on backups.id = verifications.backup_id
                where verifications.hub_id = $1
                    and verifications.id = runs.id
                    and backups.integration_id = $2
            )
        )
    order by runs.id asc
    for update
)

update runs
set cancel = true
where hub_id = $1 and id in (select held.id from held)
returning id;

-- runs.keep_gone
update backups
set deleted_by = 'ITSELF'
where hub_id = $1 and integration_id = $2 and state = 'DELETING' and deleted_by = 'CASCADE';

-- runs.delete_with_integration
with held as (
    select id
    from backups
    where hub_id = $1 and integration_id = $2 and state = 'LIVE'
    order by id asc
    for update
)

update backups
set state = 'DELETING', deleted_by = 'ITSELF', deleting_since = now()
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

-- integrations.delete
update integrations
set
    sealed_key = case when verified_at is null then null else sealed_key end,
    next_key_id = null,
    next_sealed_key = null,
    state = case when verified_at is null then 'DELETED' else 'DELETING' end
where hub_id = $1 and id = $2 and state <> 'DELETED'
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

-- drifts.resolve_of_integration
update drifts
set resolved_at = now(), resolution = $3, adopt_at = null
where hub_id = $1 and integration_id = $2 and resolved_at is null;

-- keys.revoke_all
update api_keys
set revoked_at = now()
where hub_id = $1 and revoked_at is null;

COMMIT;

-- reclaims.page_up
select id, integration_id, backup_id, kind, name, not_before, attempts, error_code, error_message,
    created_at, confirmed_at, stuck_at, now() - created_at as age
from reclaims
where hub_id = $1
    and settled_at is null
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
order by created_at asc, id asc
limit $6;

-- reclaims.count
select count(*)
from reclaims
where hub_id = $1 and settled_at is null;

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

-- integrations.by_ids
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);
