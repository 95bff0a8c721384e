-- Cross hubs: workers look after the plans of every hub's policies.

-- name: take_due
-- Containers whose plan is to be looked at; a worker that dies over one leaves it to others 15 s later.
with due as (
    select container_id
    from backup_policies
    where verify_at <= now() and verification_level is not null
    order by verify_at asc, container_id asc
    limit $1
    for update skip locked
)

update backup_policies
set verify_at = clock_timestamp() + interval '15 seconds'
where container_id in (select due.container_id from due)
returning hub_id, container_id;

-- name: candidates
-- A container's newest backups that could be verified, each with its last attempt on one of these levels.
select
    backups.id,
    backups.instance_hostname,
    coalesce(runs.finished_at, backups.created_at) as live_at,
    attempt.created_at as attempted_at,
    attempt.state as attempt_state,
    attempt.error_code as attempt_error,
    now() as read_at
from backups
left join runs on runs.id = backups.id
left join lateral (
    select verifications.created_at, verifications.state, tries.error_code
    from verifications
    inner join runs as tries on tries.id = verifications.id
    where verifications.hub_id = backups.hub_id
        and verifications.backup_id = backups.id
        and verifications.level = any($3::text[])
        and verifications.state <> 'CANCELED'
    order by verifications.created_at desc, verifications.id desc
    limit 1
) as attempt on true
where backups.hub_id = $1
    and backups.container_id = $2
    and backups.state = 'LIVE'
    and backups.trigger <> 'PRE_RESTORE'
    and backups.storage_status in ('UNCHECKED', 'PRESENT')
order by backups.created_at desc, backups.id desc
limit $4;

-- name: look_at
-- When a plan is looked at next, unless something has happened to it meanwhile.
update backup_policies
set verify_at = $2
where container_id = $1 and verify_at > now();

-- name: look_now
-- A backup became LIVE: where each is to be verified, a worker looks at once.
update backup_policies
set verify_at = now()
where container_id = $1 and verification_level is not null and verification_after_each;
