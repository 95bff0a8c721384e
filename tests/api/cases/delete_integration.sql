-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- integrations.lock
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2
for no key update;

-- integrations.uses
select
    (
        select count(*)
        from backup_policies
        inner join containers on containers.id = backup_policies.container_id
        where backup_policies.hub_id = $1
            and backup_policies.integration_id = $2
            and containers.state <> 'DELETED'
    ) as policies,
    (
        select count(*)
        from backups
        where hub_id = $1
            and integration_id = $2
            and state in ('QUEUED', 'SAVING', 'LIVE', 'DELETING')
    ) as backups,
    (
        select count(*)
        from reclaims
        where hub_id = $1 and integration_id = $2 and settled_at is null
    ) as reclaims;

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

COMMIT;

BEGIN;

-- integrations.lock
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2
for no key update;

-- integrations.uses
select
    (
        select count(*)
        from backup_policies
        inner join containers on containers.id = backup_policies.container_id
        where backup_policies.hub_id = $1
            and backup_policies.integration_id = $2
            and containers.state <> 'DELETED'
    ) as policies,
    (
        select count(*)
        from backups
        where hub_id = $1
            and integration_id = $2
            and state in ('QUEUED', 'SAVING', 'LIVE', 'DELETING')
    ) as backups,
    (
        select count(*)
        from reclaims
        where hub_id = $1 and integration_id = $2 and settled_at is null
    ) as reclaims;

ROLLBACK;

BEGIN;

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

COMMIT;
