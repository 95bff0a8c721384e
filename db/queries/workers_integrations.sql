-- Cross hubs: workers check every hub's integrations, and a place in a bucket has one owner of all.

-- name: take_due
-- Integrations whose check is due; a worker that dies over one leaves it to others 5 minutes later.
with due as (
    select id
    from integrations
    where check_at <= now() and state in ('VERIFYING', 'LIVE', 'FAILED')
    order by check_at asc, id asc
    limit $1
    for update skip locked
)

update integrations
set check_at = clock_timestamp() + interval '5 minutes'
where id in (select due.id from due)
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at, sealed_key, next_sealed_key, check_at;

-- name: sample
-- The newest object that can be restored from an integration.
select file_id, object_name
from backups
where integration_id = $1 and state = 'LIVE' and file_id is not null
order by created_at desc, id desc
limit 1;

-- name: lock
-- One integration, for the end of its check.
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at, check_at, unreachable_told
from integrations
where id = $1
for update;

-- name: lock_place
-- One check at a time ends for a bucket, so that two cannot both find its prefix free.
select pg_advisory_xact_lock(hashtextextended('integrations:' || $1::text || ':' || lower($2::text), 0));

-- name: overlaps
-- Whether another integration has proved to own names that this one would write.
select exists (
    select
    from integrations
    where realm = $1
        and lower(bucket) = lower($2)
        and id <> $3
        and state <> 'DELETED'
        and verified_at is not null
        and (
            prefix = ''
            or $4 = ''
            or starts_with(prefix || '/', $4 || '/')
            or starts_with($4 || '/', prefix || '/')
        )
);

-- name: pass
-- The integration works, by its new key where one was checked.
update integrations
set
    key_id = case when $2 then next_key_id else key_id end,
    sealed_key = case when $2 then next_sealed_key else sealed_key end,
    next_key_id = case when $2 then null else next_key_id end,
    next_sealed_key = case when $2 then null else next_sealed_key end,
    error_code = null,
    error_message = null,
    verified_at = now(),
    check_at = now() + $3::interval,
    unreachable_since = null,
    unreachable_told = false,
    state = 'LIVE'
where id = $1 and state in ('VERIFYING', 'LIVE', 'FAILED');

-- name: fail
-- The check failed. A new key that was refused is dropped; what works by the old one stays.
-- `is_late`: B2 cannot be reached for longer than people need not know, and they were not told.
update integrations
set
    next_key_id = case when $5 then null else next_key_id end,
    next_sealed_key = case when $5 then null else next_sealed_key end,
    error_code = $2,
    error_message = $3,
    check_at = now() + $6::interval,
    unreachable_since = case when $7 then coalesce(unreachable_since, now()) end,
    state = $4
where id = $1 and state in ('VERIFYING', 'LIVE', 'FAILED')
returning coalesce(unreachable_since <= now() - $8::interval, false) and not unreachable_told as is_late;

-- name: told_unreachable
-- People were told that it cannot be reached.
update integrations
set unreachable_told = true
where id = $1;

-- name: check_soon
-- Something could not reach B2: the integration is checked now, unless a check is due soon anyway.
with found as (
    select id
    from integrations
    where id = $1 and state = 'LIVE' and check_at > now() + interval '5 minutes'
    for update skip locked
)

update integrations
set check_at = now()
from found
where integrations.id = found.id
returning integrations.id;

-- name: ending
-- Integrations in deletion that nothing needs any more.
select id
from integrations
where state = 'DELETING'
    and not exists (
        select
        from reclaims
        where reclaims.integration_id = integrations.id and reclaims.settled_at is null
    )
    and not exists (
        select
        from backups
        where backups.hub_id = integrations.hub_id
            and backups.integration_id = integrations.id
            and backups.state in ('QUEUED', 'SAVING', 'LIVE', 'DELETING')
    )
order by id asc
limit $1;

-- name: end
-- The key is wiped: nothing is to be removed by it any more.
update integrations
set sealed_key = null, next_key_id = null, next_sealed_key = null, state = 'DELETED'
where state = 'DELETING'
    and id = $1
    and not exists (
        select
        from reclaims
        where reclaims.integration_id = integrations.id and reclaims.settled_at is null
    )
    and not exists (
        select
        from backups
        where backups.hub_id = integrations.hub_id
            and backups.integration_id = integrations.id
            and backups.state in ('QUEUED', 'SAVING', 'LIVE', 'DELETING')
    )
returning id;

-- name: forget_owner
-- The place is nobody's from now on.
delete from integration_owners
where integration_id = $1;
