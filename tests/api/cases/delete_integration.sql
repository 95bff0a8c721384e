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

-- integrations.delete
update integrations
set
    sealed_key = null,
    next_key_id = null,
    next_sealed_key = null,
    state = 'DELETED'
where hub_id = $1 and id = $2
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
