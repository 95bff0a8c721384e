-- Cross hubs: a reclaim outlives its hub, and any worker may keep its promise.

-- name: take_due
-- Reclaims that are due, each put off at once, so that a crash over one only delays it.
with due as (
    select reclaims.id
    from reclaims
    where reclaims.settled_at is null
        and reclaims.not_before <= now()
        -- What a run reads stays until it has ended.
        and not exists (
            select
            from restores
            inner join runs on runs.id = restores.id
            where restores.hub_id = reclaims.hub_id
                and restores.backup_id = reclaims.backup_id
                and runs.finished_at is null
        )
        and not exists (
            select
            from verifications
            inner join runs on runs.id = verifications.id
            where verifications.hub_id = reclaims.hub_id
                and verifications.backup_id = reclaims.backup_id
                and runs.finished_at is null
        )
    order by reclaims.not_before asc, reclaims.id asc
    limit $1
    for update skip locked
)

update reclaims
set
    attempts = reclaims.attempts + 1,
    not_before = now() + least(
        interval '10 seconds' * power(2, least(reclaims.attempts, 20)) * (0.75 + random() / 2),
        interval '6 hours'
    )
from due
where reclaims.id = due.id
returning reclaims.id, reclaims.hub_id, reclaims.backup_id, reclaims.kind, reclaims.name, reclaims.file_id,
    reclaims.attempts, now() - reclaims.created_at as age, reclaims.integration_id;

-- name: find
-- What a reclaim belongs to, before anything is locked.
select hub_id, backup_id
from reclaims
where id = $1;

-- name: lock_backup
-- The backup whose last reclaim may be settled now: one transaction at a time finds that out.
select hub_id, container_id, state
from backups
where id = $1
for update;

-- name: settle
-- B2 has confirmed; where $2 is given it is asked once more after that time.
update reclaims
set
    confirmed_at = coalesce(confirmed_at, now()),
    settled_at = case when $2::interval is null then now() end,
    not_before = case when $2::interval is null then not_before else now() + $2 end,
    attempts = 0,
    error_code = null,
    error_message = null,
    stuck_at = null
from (select id, stuck_at, integration_id from reclaims where id = $1) as before
where reclaims.id = $1 and before.id = reclaims.id and reclaims.settled_at is null
returning case when before.stuck_at is not null then before.integration_id end;

-- name: put_off
-- Why it could not be done; it is tried again when it is due, or after the time that is given.
update reclaims
set
    error_code = $2,
    error_message = $3,
    not_before = case when $4::interval is null then not_before else now() + $4 end
where id = $1 and settled_at is null;

-- name: any_stuck
-- Whether something of an integration's is known to be stuck.
select exists (
    select
    from reclaims
    where integration_id = $1 and settled_at is null and stuck_at is not null
);

-- name: mark_stuck
-- What has failed for long; of each integration only the first one is told of.
with long as (
    select reclaims.id, reclaims.integration_id
    from reclaims
    where reclaims.id = any($1::uuid[])
        and reclaims.settled_at is null
        and reclaims.stuck_at is null
        and (
            reclaims.attempts >= $2
            or (reclaims.attempts > 1 and reclaims.created_at < now() - $3::interval)
        )
),

told as (
    select distinct reclaims.integration_id
    from reclaims
    inner join long on long.integration_id = reclaims.integration_id
    where reclaims.settled_at is null and reclaims.stuck_at is not null
),

marked as (
    update reclaims
    set stuck_at = now()
    from long
    where reclaims.id = long.id
    returning reclaims.id, reclaims.hub_id, reclaims.integration_id, reclaims.backup_id, reclaims.attempts
)

select distinct on (marked.integration_id)
    marked.hub_id, marked.integration_id, marked.backup_id, marked.attempts
from marked
where marked.integration_id not in (select told.integration_id from told)
order by marked.integration_id asc, marked.id asc
limit cardinality($1::uuid[]);
