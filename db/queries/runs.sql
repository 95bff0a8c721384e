-- Every write of a backup's, restore's or verification's state stands here, each from a state that the caller names.

-- name: create_run
-- A new run; no row where another one is open in its instance.
insert into runs (
    hub_id, id, kind, container_id, instance_id, place, command, timeout, start_by,
    requested_by_kind, requested_by_id, requested_by_name, carried_by
)
values ($1, $2, $3, $4, $5, $6, $7, $8, now() + $9::interval, $10, $11, $12, $13)
on conflict (instance_id) where finished_at is null do nothing
returning id;

-- name: make_lease
-- The lease of an instance that had no run before; the workers take it.
insert into leases (instance_id)
select id
from instances
where hub_id = $1 and id = $2
on conflict (instance_id) do nothing;

-- name: create_backup
-- The record that a run is to fill.
insert into backups (
    hub_id, id, container_id, instance_id, instance_hostname, integration_id, state, trigger,
    backup_command, restore_command, min_bytes
)
values ($1, $2, $3, $4, $5, $6, 'QUEUED', $7, $8, $9, $10);

-- name: create_restore
-- The record that a run is to carry out.
insert into restores (
    hub_id, id, container_id, instance_id, backup_id, state, trigger, phase, bytes_total,
    safety_backup_id, check_command
)
values ($1, $2, $3, $4, $5, 'QUEUED', $6, 'PREPARING', $7, $8, $9);

-- name: create_verification
-- The record that a run is to fill.
insert into verifications (
    hub_id, id, container_id, instance_id, backup_id, level, state, bytes_total
)
values ($1, $2, $3, $4, $5, $6, 'QUEUED', $7);

-- name: move_backup
-- One legal move of one backup; no row where it is not in the state that it should leave.
update backups
set
    state = $4,
    deleted_by = coalesce($5, deleted_by),
    deleting_since = case when $4 = 'DELETING' then now() else deleting_since end,
    deleted_at = case when $4 = 'DELETED' then now() end
where hub_id = $1 and id = $2 and state = $3
returning id;

-- name: move_restore
-- One legal move of one restore; no row where it is not in the state that it should leave.
update restores
set state = $4, phase = case when $4 in ('QUEUED', 'RUNNING') then 'PREPARING' else phase end
where hub_id = $1 and id = $2 and state = $3
returning id;

-- name: move_verification
-- One legal move of one verification; no row where it is not in the state that it should leave.
update verifications
set state = $4
where hub_id = $1 and id = $2 and state = $3
returning id;

-- name: link_safety_backup
-- Another save comes before the restore's next try.
update restores
set safety_backup_id = $3
where hub_id = $1 and id = $2;

-- name: delete_with_container
-- Every LIVE backup of a container goes with it; those that go by themselves stay so.
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

-- name: retire_backups
-- Locked LIVE backups go by a rule, each for a reason of its own.
update backups
set
    state = 'DELETING',
    deleted_by = 'ITSELF',
    deleting_since = now(),
    retention_code = retired.code,
    retention_reason = retired.reason
from unnest($2::uuid[], $3::text[], $4::text[]) as retired (id, code, reason)
where backups.hub_id = $1 and backups.id = retired.id and backups.state = 'LIVE'
returning backups.id;

-- name: record_deleter
-- Who deleted backups.
update backups
set deletion_requested_by_kind = $3, deletion_requested_by_id = $4, deletion_requested_by_name = $5
where hub_id = $1 and id = any($2::uuid[]);

-- name: delete_with_integration
-- Every LIVE backup in an integration's bucket goes by itself: no container brings it back.
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

-- name: keep_gone
-- What goes already in an integration's bucket does not come back with its container.
update backups
set deleted_by = 'ITSELF'
where hub_id = $1 and integration_id = $2 and state = 'DELETING' and deleted_by = 'CASCADE';

-- name: hold_cascade
-- The promises about what went with a container; those that a worker has taken are not to be had.
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

-- name: unreclaim
-- Promises that are taken back before anybody kept them.
delete from reclaims
where hub_id = $1 and id = any($2::uuid[]);

-- name: undelete_with_container
-- What went with a container comes back with it; what went by itself stays gone.
update backups
set state = 'LIVE', deleted_by = null, deleting_since = null
where hub_id = $1 and container_id = $2 and state = 'DELETING' and deleted_by = 'CASCADE'
returning id;

-- name: lock_run
-- One run, for its end by a request; `waiting`: no worker has it, `begun`: one had it.
select finished_at is not null as ended, owner is null as waiting, attempt > 0 as begun, instance_id
from runs
where hub_id = $1 and id = $2
for update;

-- name: cancel_run
-- Ask a run to end.
update runs
set cancel = true
where hub_id = $1 and id = $2 and finished_at is null;

-- name: start_run
-- A try begins: it is counted, and its time is limited; that of a save before it counts extra.
update runs
set
    attempt = attempt + 1,
    started_epoch = epoch,
    started_at = coalesce(started_at, now()),
    deadline_at = now() + least(timeout, $3::interval) + $4::interval,
    bytes_read = 0,
    bytes_stored = 0,
    bytes_delivered = 0,
    bytes_per_second = null,
    progress_at = null,
    log_bytes = 0,
    log_truncated = false
where hub_id = $1 and id = $2 and finished_at is null;

-- name: end_run
-- The run is over; a higher epoch fences an owner that does not know it yet.
update runs
set
    finished_at = now(),
    exit_code = $3,
    error_code = $4,
    error_message = $5,
    epoch = epoch + $6
where hub_id = $1 and id = $2 and finished_at is null;

-- name: requeue_run
-- Nobody has the run any more, not even who had it; it may wait as long again as it could at first.
-- So it is with what it carries.
update runs
set
    epoch = epoch + 1,
    owner = null,
    trace = null,
    deadline_at = null,
    not_before = now(),
    start_by = now() + (start_by - created_at)
where hub_id = $1
    and (
        id = $2
        or (
            id = (select restores.safety_backup_id from restores where restores.id = $2)
            and carried_by = $2
        )
    )
    and finished_at is null;

-- name: name_object
-- Where the bytes of this try go: known before anything is sent. Null: there are none.
update backups
set object_name = $3, upload_id = null
where hub_id = $1 and id = $2;

-- name: keep_proofs
-- What B2 confirmed, and the hashes of exactly these bytes.
update backups
set
    upload_id = null,
    file_id = $3,
    manifest_file_id = $4,
    size_bytes = $5,
    sha256 = $6,
    chunk_hashes = $7
where hub_id = $1 and id = $2;

-- name: former_sizes
-- The sizes of the last LIVE backups of an instance, by container and hostname, newest first.
select size_bytes
from backups
where hub_id = $1 and container_id = $2 and instance_hostname = $3 and state = 'LIVE' and id <> $4
    and trigger <> 'PRE_RESTORE'
order by created_at desc, id desc
limit $5;

-- name: mark_size_drop
-- The backup is much smaller than those before it.
update backups
set size_dropped = true
where hub_id = $1 and id = $2;

-- name: order_facts
-- What only an order needs: the least bytes of a save, the hashes of each chunk of a restore.
select min_bytes, chunk_hashes
from backups
where hub_id = $1 and id = $2;

-- name: lock_backups
-- Backups that nobody else may move or begin to read meanwhile.
select id, container_id, instance_hostname, state, trigger, pinned, note
from backups
where hub_id = $1 and id = any($2::uuid[])
order by id asc
for update;

-- name: hold_backup
-- A backup that nobody may delete until the transaction ends.
select state
from backups
where hub_id = $1 and id = $2
for share;

-- name: hold_containers
-- The containers of some backups: what they have is counted by one transaction at a time.
select id
from containers
where hub_id = $1 and id in (
    select backups.container_id
    from backups
    where backups.hub_id = $1 and backups.id = any($2::uuid[])
)
order by id asc
for no key update;

-- name: read_by_runs
-- Which of these backups a run reads, is to read, or made for its own safety.
select restores.backup_id
from restores
inner join runs on runs.id = restores.id
where restores.hub_id = $1 and restores.backup_id = any($2::uuid[]) and runs.finished_at is null
union
select saves.id
from runs as saves
inner join runs on runs.id = saves.carried_by
where saves.hub_id = $1 and saves.id = any($2::uuid[]) and runs.finished_at is null
union
select verifications.backup_id
from verifications
inner join runs on runs.id = verifications.id
where verifications.hub_id = $1
    and verifications.backup_id = any($2::uuid[])
    and runs.finished_at is null;

-- name: reclaim_stored
-- The promise to remove what LIVE backups have in the bucket: object and manifest, by id.
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

-- name: reclaim_unfinished
-- The promise to remove what a try that is over may have in the bucket, whatever became of it.
insert into reclaims (hub_id, integration_id, backup_id, kind, name, file_id)
select
    backups.hub_id,
    backups.integration_id,
    backups.id,
    unfinished.kind,
    unfinished.name,
    unfinished.file_id
from backups
cross join lateral (
    values ('UPLOAD', backups.object_name, backups.upload_id),
    ('NAME', backups.object_name, null),
    ('NAME', backups.object_name || $3, null)
) as unfinished (kind, name, file_id)
where backups.hub_id = $1
    and backups.id = $2
    and backups.object_name is not null
    and (unfinished.kind = 'NAME' or unfinished.file_id is not null);

-- name: unconfirmed
-- Whether B2 has yet to confirm for the first time that something of a backup is gone.
select exists (
    select
    from reclaims
    where hub_id = $1 and backup_id = $2 and settled_at is null and confirmed_at is null
);
