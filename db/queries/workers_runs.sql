-- Cross hubs: a worker carries out the runs of every hub whose places it reaches.

-- name: find
-- Where a run belongs, before anything is locked.
select hub_id, container_id, instance_id
from runs
where id = $1;

-- name: lock
-- One run, for a change that nothing else may see half done.
select id, hub_id, kind, container_id, instance_id, place, command, timeout, epoch, attempt, owner, cancel,
    touched, trace, start_by, deadline_at, created_at, started_at, finished_at, started_epoch, carried_by,
    not_before <= now() as due, coalesce(deadline_at, start_by) < now() as late
from runs
where id = $1
for update;

-- name: lock_carried
-- The open run that another one carries, which is locked already.
select id, hub_id, kind, container_id, instance_id, place, command, timeout, epoch, attempt, owner, cancel,
    touched, trace, start_by, deadline_at, created_at, started_at, finished_at, started_epoch, carried_by,
    not_before <= now() as due, coalesce(deadline_at, start_by) < now() as late
from runs
where id = (select restores.safety_backup_id from restores where restores.id = $1)
    and carried_by = $1
    and finished_at is null
order by id asc
limit 1
for update;

-- name: lock_if_free
-- As `lock`, but no row where somebody else has it: a paused worker may keep it for long.
select id, hub_id, kind, container_id, instance_id, place, command, timeout, epoch, attempt, owner, cancel,
    touched, trace, start_by, deadline_at, created_at, started_at, finished_at, started_epoch, carried_by,
    not_before <= now() as due, coalesce(deadline_at, start_by) < now() as late
from runs
where id = $1
for update skip locked;

-- name: lock_hub
-- One claim at a time in a hub whose runs are counted.
select pg_advisory_xact_lock(hashtextextended('runs:' || $1::text, 0));

-- name: count_going
-- How many runs of a hub have a living owner.
select count(*)
from leases
inner join runs on runs.id = leases.run_id
where runs.hub_id = $1 and leases.lease_until > clock_timestamp();

-- name: put_off
-- The run is not looked at for a while.
update runs
set not_before = now() + $2::interval
where id = $1;

-- name: lock_lease
-- The lease of an instance; `alive`: its owner still counts on it.
select run_id, epoch, owner, coalesce(lease_until >= clock_timestamp(), false) as alive, leftover
from leases
where instance_id = $1
for update;

-- name: lock_lease_of_run
-- The lease of a run that needs no instance.
select run_id, epoch, owner, coalesce(lease_until >= clock_timestamp(), false) as alive, leftover
from leases
where instance_id is null and run_id = $1
for update;

-- name: keep_leftover
-- What former owners of an instance may have left, until it is known to be dead.
update leases
set leftover = $2
where instance_id = $1;

-- name: claim
-- A new epoch of a run begins, under a new owner; and of what it carries.
update runs
set epoch = epoch + 1, owner = $2, trace = null
where id = $1
    or (
        id = (select restores.safety_backup_id from restores where restores.id = $1)
        and carried_by = $1
        and finished_at is null
    );

-- name: carry
-- A new run begins in the epoch and with the owner of the one that carries it.
update runs
set epoch = $2, owner = $3
where id = $1;

-- name: record_trace
-- What finds the processes of this try after a crash. No row: fenced.
update runs
set trace = $3
where id = $1 and epoch = $2 and finished_at is null
returning id;

-- name: mark_touched
-- From now on the instance may hold part of a restore. No row: fenced.
update runs
set touched = true
where id = $1 and epoch = $2 and finished_at is null
returning id;

-- name: record_upload
-- The id of the unfinished upload, as soon as B2 gave it. No row: fenced.
with fence as (
    select id
    from runs
    where id = $1 and epoch = $2 and finished_at is null
    for share
)

update backups
set upload_id = $3
from fence
where backups.id = fence.id
returning backups.id;

-- name: set_phase
-- What a restore does now. No row: fenced.
with fence as (
    select id
    from runs
    where id = $1 and epoch = $2 and finished_at is null
    for share
)

update restores
set phase = $3
from fence
where restores.id = fence.id
returning restores.id;

-- name: count_log
-- How much a run has printed so far. No row: fenced.
update runs
set log_bytes = $3, log_truncated = $4
where id = $1 and epoch = $2 and finished_at is null
returning hub_id;

-- name: add_log
-- Pieces of what a run printed; a piece that is there already stays.
insert into run_logs (run_id, hub_id, sequence, stream, bytes)
select $1, $2, added.sequence, added.stream, added.bytes
from unnest($3::bigint[], $4::text[], $5::bytea[]) as added (sequence, stream, bytes)
on conflict (run_id, sequence) do nothing;

-- name: drop_log
-- What fell between the beginning and the end that are kept.
delete from run_logs
where run_id = $1 and sequence >= $2 and sequence < $3;

-- name: clear_log
-- A new try begins a new log.
delete from run_logs
where run_id = $1;

-- name: record_progress
-- How far a worker's runs are, all at once; a run without a row in the answer is fenced.
-- Of two writes that cross, the one that knows more counts.
with told as (
    select told.id, told.epoch, told.bytes_read, told.bytes_stored, told.bytes_delivered, told.bytes_per_second
    from unnest(
        $1::uuid[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]
    ) as told (id, epoch, bytes_read, bytes_stored, bytes_delivered, bytes_per_second)
),

held as (
    select runs.id
    from runs
    inner join told on told.id = runs.id and told.epoch = runs.epoch
    where runs.finished_at is null
    order by runs.id asc
    for update of runs
)

update runs
set
    bytes_read = greatest(runs.bytes_read, told.bytes_read),
    bytes_stored = greatest(runs.bytes_stored, told.bytes_stored),
    bytes_delivered = greatest(runs.bytes_delivered, told.bytes_delivered),
    bytes_per_second = told.bytes_per_second,
    progress_at = now()
from told
inner join held on held.id = told.id
where runs.id = told.id
returning runs.id, runs.cancel;

-- name: installation
-- Which installation this database is.
select id
from installation;

-- name: sealed_variables
-- An instance's variables as they are stored.
select sealed_variables
from instances
where id = $1;

-- name: sealed_access
-- An integration's key as it is stored; it outlives the integration until nothing is to be removed.
select id, realm, key_id, sealed_key, bucket, prefix
from integrations
where id = $1;
