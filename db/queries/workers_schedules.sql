-- Cross hubs: one tick makes the runs that are due in every hub.

-- name: due
-- Schedules whose time has come, longest waiting first; what another worker or a change has locked waits.
select
    schedules.container_id,
    schedules.hub_id,
    schedules.next_at,
    schedules.last_duration,
    backup_policies.cron,
    backup_policies.time_zone,
    backup_policies.instances,
    backup_policies.overdue_after,
    integrations.name as integration_name,
    integrations.state as integration_state,
    now() as now
from schedules
inner join backup_policies on backup_policies.container_id = schedules.container_id
inner join containers on containers.id = schedules.container_id
inner join integrations on integrations.id = backup_policies.integration_id
where schedules.next_at <= now()
order by schedules.next_at asc, schedules.container_id asc
limit $1
for no key update of schedules skip locked
for share of containers, integrations skip locked;

-- name: instances
-- The instances of containers by hostname, and what is going on in each; they stay so for a while.
select
    instances.id,
    instances.container_id,
    instances.hostname,
    instances.state,
    instances.executor,
    instances.host,
    open_runs.kind as open_kind
from instances
left join runs as open_runs on open_runs.instance_id = instances.id and open_runs.finished_at is null
where instances.container_id = any($1::uuid[])
    and instances.removed_at is null
    and instances.state <> 'DELETING'
    and not instances.scratch
order by instances.container_id asc, instances.hostname asc, instances.id asc
for share of instances;

-- name: make_leases
-- The leases of instances that had no run before.
insert into leases (instance_id)
select made.instance_id
from unnest($1::uuid[]) as made (instance_id)
order by made.instance_id
on conflict (instance_id) do nothing;

-- name: create_runs
-- Runs that are due, by their policies; no row where another one is open in the instance.
insert into runs (
    hub_id, id, kind, container_id, instance_id, place, command, timeout, start_by,
    requested_by_kind, requested_by_name
)
select
    backup_policies.hub_id, made.id, 'BACKUP', made.container_id, made.instance_id, made.place,
    backup_policies.backup_command, backup_policies.backup_timeout, made.start_by,
    'SCHEDULE', backup_policies.cron || ' ' || backup_policies.time_zone
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[]) as made (
    id, container_id, instance_id, place, start_by
)
inner join backup_policies on backup_policies.container_id = made.container_id
order by made.instance_id
on conflict (instance_id) where finished_at is null do nothing
returning id;

-- name: create_ended_runs
-- Runs that are over before they began, and why.
insert into runs (
    hub_id, id, kind, container_id, instance_id, place, command, timeout, start_by, finished_at,
    error_code, error_message, requested_by_kind, requested_by_name
)
select
    backup_policies.hub_id, made.id, 'BACKUP', made.container_id, made.instance_id, made.place,
    backup_policies.backup_command, backup_policies.backup_timeout, now(), now(),
    made.error_code, made.error_message,
    'SCHEDULE', backup_policies.cron || ' ' || backup_policies.time_zone
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[]) as made (
    id, container_id, instance_id, place, error_code, error_message
)
inner join backup_policies on backup_policies.container_id = made.container_id;

-- name: create_backups
-- The records that go with runs, in the state in which each begins: QUEUED, FAILED or SKIPPED.
insert into backups (
    hub_id, id, container_id, instance_id, instance_hostname, integration_id, state, trigger,
    backup_command, restore_command, min_bytes
)
select
    backup_policies.hub_id, made.id, made.container_id, made.instance_id, made.hostname,
    backup_policies.integration_id, made.state, 'SCHEDULE', backup_policies.backup_command,
    backup_policies.restore_command, backup_policies.min_bytes
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[]) as made (
    id, container_id, instance_id, hostname, state
)
inner join backup_policies on backup_policies.container_id = made.container_id;

-- name: move_on
-- A time was carried out: the next one, and until when a backup is waited for.
update schedules
set
    due_at = moved.due_at,
    next_at = moved.next_at,
    last_at = schedules.next_at,
    unanswered_at = coalesce(schedules.unanswered_at, schedules.next_at),
    expected_by = coalesce(schedules.expected_by, moved.expected_by)
from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[]) as moved (
    container_id, due_at, next_at, expected_by
)
where schedules.container_id = moved.container_id;

-- name: overdue
-- Schedules that no backup has answered in time and that nobody was told of, longest waiting first.
select schedules.container_id, schedules.hub_id, containers.identifier, schedules.expected_by
from schedules
inner join containers on containers.id = schedules.container_id
where schedules.expected_by <= now() and schedules.overdue_told_at is null
order by schedules.expected_by asc
limit $1
for no key update of schedules skip locked;

-- name: tell_overdue
-- People are told.
update schedules
set overdue_told_at = now()
where container_id = any($1::uuid[]);
