-- Cross hubs: any worker takes the next step of any walk over a bucket.

-- name: take_due
-- The next steps that are due, each handed to one worker; a dead one's is due again once its lease has passed.
with due as (
    select scans.integration_id, scans.kind
    from scans
    where scans.kind = $1
        and scans.due_at <= now()
        and (scans.lease_until is null or scans.lease_until < clock_timestamp())
        and exists (
            select
            from integrations
            where integrations.id = scans.integration_id and integrations.state = 'LIVE'
        )
    order by scans.due_at asc, scans.integration_id asc
    limit $2
    for update skip locked
)

update scans
set
    epoch = scans.epoch + 1,
    lease_until = clock_timestamp() + $3::interval,
    number = scans.number + (scans.phase is null)::integer,
    phase = coalesce(scans.phase, $4),
    started_at = case when scans.phase is null then clock_timestamp() else scans.started_at end,
    counts = case when scans.phase is null then '{}' else scans.counts end
from due
where scans.integration_id = due.integration_id and scans.kind = due.kind
returning scans.hub_id, scans.integration_id, scans.kind, scans.number, scans.epoch, scans.phase, scans.cursor,
    scans.counts, scans.believed, scans.started_at, case
        when scans.kind = 'RECOVER' then scans.former_hub_id
        else (
            select recovery.former_hub_id
            from scans as recovery
            where recovery.integration_id = scans.integration_id
                and recovery.kind = 'RECOVER'
                and recovery.phase is distinct from 'LOOKING'
        )
    end as former_hub_id;

-- name: fence
-- Whether a step is still its worker's; nobody else takes it meanwhile.
select true
from scans
where integration_id = $1 and kind = $2 and epoch = $3
limit 1
for update;

-- name: renew
-- A step goes on for so long from now. No row: it is not its worker's any more.
update scans
set lease_until = clock_timestamp() + $4::interval
where integration_id = $1 and kind = $2 and epoch = $3 and lease_until > clock_timestamp()
returning epoch;

-- name: advance
-- A step is done; the next one is due, whoever takes it.
update scans
set
    phase = $3,
    cursor = $4,
    counts = $5,
    former_hub_id = coalesce($6, former_hub_id),
    due_at = clock_timestamp(),
    lease_until = null,
    error_code = null,
    error_message = null
where integration_id = $1 and kind = $2;

-- name: put_off
-- A step could not be done; the walk goes on from there later.
update scans
set
    error_code = $4,
    error_message = $5,
    due_at = clock_timestamp() + $6::interval,
    lease_until = null
where integration_id = $1 and kind = $2 and epoch = $3;

-- name: end
-- The walk is over. $5: it came to its end; else $6 and $7 say why not. The next one is due after $4, or never.
-- $8: whose backups there were is unclear.
update scans
set
    phase = null,
    cursor = null,
    counts = '{}',
    believed = false,
    lease_until = null,
    due_at = clock_timestamp() + $4::interval,
    finished_at = case when $5::boolean then clock_timestamp() else finished_at end,
    last_counts = case when $5::boolean then $3 else last_counts end,
    error_code = $6,
    error_message = $7,
    former_hub_id = case when $8::boolean then null else former_hub_id end
where integration_id = $1 and kind = $2;

-- name: request
-- A reconcile is due at once.
update scans
set due_at = clock_timestamp()
where integration_id = $1 and kind = 'RECONCILE' and phase is null;

-- name: other_hubs
-- Which of these hubs this database knows, other than this one.
select id
from hubs
where id = any($1::uuid[]) and id <> $2;
