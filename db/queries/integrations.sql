-- name: get
-- One integration by id.
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2;

-- name: by_ids
-- Several integrations by id.
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- name: lock
-- One integration, for a change that nothing else may see half done.
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2
for no key update;

-- name: hold
-- One integration that must stay as it is until the transaction ends.
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2
for share;

-- name: create
-- A new integration, to be checked at once.
insert into integrations (hub_id, id, name, realm, key_id, sealed_key, bucket, prefix, state)
values ($1, $2, $3, $4, $5, $6, $7, $8, 'VERIFYING')
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

-- name: rename
-- Another name.
update integrations
set name = $3
where hub_id = $1 and id = $2
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

-- name: change_key
-- A new key: it waits for its check, but where no key ever worked there is nothing to wait for.
-- What was said of another key is no verdict on this one.
update integrations
set
    error_code = null,
    error_message = null,
    state = case when state = 'LIVE' then 'LIVE' else 'VERIFYING' end,
    key_id = case when verified_at is null then $3 else key_id end,
    sealed_key = case when verified_at is null then $4 else sealed_key end,
    next_key_id = case when verified_at is null then null else $3 end,
    next_sealed_key = case when verified_at is null then null else $4 end
where hub_id = $1 and id = $2
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

-- name: request_check
-- To be checked at once; one that works keeps working meanwhile.
update integrations
set
    check_at = clock_timestamp(),
    state = case when state = 'LIVE' then 'LIVE' else 'VERIFYING' end
where hub_id = $1 and id = $2 and state in ('VERIFYING', 'LIVE', 'FAILED')
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

-- name: delete
-- The integration goes; its key stays until nothing is to be removed by it. One that never worked is gone.
update integrations
set
    sealed_key = case when verified_at is null then null else sealed_key end,
    next_key_id = null,
    next_sealed_key = null,
    state = case when verified_at is null then 'DELETED' else 'DELETING' end
where hub_id = $1 and id = $2 and state <> 'DELETED'
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

-- name: remove_policies
-- Nothing is saved to an integration that goes; its schedules end with the policies.
delete from backup_policies
where hub_id = $1 and integration_id = $2
returning container_id;

-- name: cancel_runs
-- Ask every open run that saves to an integration or reads from it to end.
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

-- name: there
-- Integrations of a hub that are not going yet.
select id
from integrations
where hub_id = $1 and state in ('VERIFYING', 'LIVE', 'FAILED')
order by id asc
limit $2;

-- name: uses
-- What still needs an integration.
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

-- name: page_down
-- A page of a list, newest first, between two places that are not in it.
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
    and state = any ($6::text[])
order by created_at desc, id desc
limit $7;

-- name: page_up
-- A page of a list, oldest first, between two places that are not in it.
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
    and state = any ($6::text[])
order by created_at asc, id asc
limit $7;

-- name: count
-- How many there are in a list.
select count(*)
from integrations
where hub_id = $1
    and state = any ($2::text[]);
