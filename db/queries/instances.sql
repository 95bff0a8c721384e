-- name: get
-- One instance by id, also one that was removed.
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1 and id = $2;

-- name: by_ids
-- Several instances by id, also those that were removed.
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- name: lock
-- One instance, for a change that nothing else may see half done.
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1 and id = $2
for no key update;

-- name: hold
-- One instance that must stay as it is until the transaction ends.
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1 and id = $2
for share;

-- name: running
-- Instances of a container on which a command can run, oldest first.
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1 and container_id = $2 and removed_at is null and state = 'RUNNING'
order by created_at asc, id asc
limit $3;

-- name: create
-- A new instance; no row where the hostname is taken in its container.
insert into instances (
    hub_id, id, container_id, hostname, state, executor, host, folder, variable_names,
    sealed_variables, scratch, engine_id, engine_container, command_user, replica, sources
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
on conflict (container_id, hostname) where removed_at is null do nothing
returning id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources;

-- name: update
-- Another state, folder or variables; null keeps what is there.
update instances
set
    folder = coalesce($3, folder),
    variable_names = coalesce($4, variable_names),
    sealed_variables = case when $4::text[] is null then sealed_variables else $5 end,
    state = coalesce($6, state),
    sources = $7
where hub_id = $1 and id = $2 and removed_at is null and state <> 'DELETING'
returning id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources;

-- name: begin_deletion
-- The instance takes no more runs; it is removed once none is going.
update instances
set removed_at = case when $3 then now() end, state = 'DELETING'
where hub_id = $1 and id = $2 and removed_at is null
returning id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources;

-- name: open_runs
-- The runs that are going or waiting on instances: at most one on each.
select id, kind, instance_id
from runs
where hub_id = $1 and instance_id = any($2::uuid[]) and finished_at is null;

-- name: cancel_run
-- Ask the run of an instance to end.
update runs
set cancel = true
where hub_id = $1 and instance_id = $2 and finished_at is null
returning id;

-- name: was_saved
-- Whether a backup was ever made of an instance that went by this name.
select exists (
    select
    from backups
    where hub_id = $1 and container_id = $2 and instance_hostname = $3 and file_id is not null
);

-- name: page_down
-- A page of a list, newest first, between two places that are not in it.
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
    and removed_at is null
    and ($6::uuid is null or container_id = $6)
    and ($7::text is null or hostname = $7)
    and ($8::text[] is null or state = any ($8))
    and ($9::boolean is null or scratch = $9)
order by created_at desc, id desc
limit $10;

-- name: page_up
-- A page of a list, oldest first, between two places that are not in it.
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
    and removed_at is null
    and ($6::uuid is null or container_id = $6)
    and ($7::text is null or hostname = $7)
    and ($8::text[] is null or state = any ($8))
    and ($9::boolean is null or scratch = $9)
order by created_at asc, id asc
limit $10;

-- name: count
-- How many there are in a list.
select count(*)
from instances
where hub_id = $1
    and removed_at is null
    and ($2::uuid is null or container_id = $2)
    and ($3::text is null or hostname = $3)
    and ($4::text[] is null or state = any ($4))
    and ($5::boolean is null or scratch = $5);

-- name: pages_down
-- A page for each of several containers, newest first.
select found.id, found.hub_id, found.container_id, found.hostname, found.state, found.executor, found.host, found.folder, found.engine_id, found.engine_container, found.command_user, found.variable_names, found.scratch, found.created_at, found.removed_at, found.replica, found.sources
from unnest($2::uuid[]) as parents (id)
cross join lateral (
    select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
        engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
    from instances
    where hub_id = $1
        and container_id = parents.id
        and (created_at, id) < ($3::timestamptz, $4::uuid)
        and (created_at, id) > ($5::timestamptz, $6::uuid)
        and removed_at is null
        and ($7::text is null or hostname = $7)
        and ($8::text[] is null or state = any ($8))
        and ($9::boolean is null or scratch = $9)
    order by created_at desc, id desc
    limit $10
) as found
order by found.container_id asc, found.created_at desc, found.id desc;

-- name: pages_up
-- A page for each of several containers, oldest first.
select found.id, found.hub_id, found.container_id, found.hostname, found.state, found.executor, found.host, found.folder, found.engine_id, found.engine_container, found.command_user, found.variable_names, found.scratch, found.created_at, found.removed_at, found.replica, found.sources
from unnest($2::uuid[]) as parents (id)
cross join lateral (
    select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
        engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
    from instances
    where hub_id = $1
        and container_id = parents.id
        and (created_at, id) < ($3::timestamptz, $4::uuid)
        and (created_at, id) > ($5::timestamptz, $6::uuid)
        and removed_at is null
        and ($7::text is null or hostname = $7)
        and ($8::text[] is null or state = any ($8))
        and ($9::boolean is null or scratch = $9)
    order by created_at asc, id asc
    limit $10
) as found
order by found.container_id asc, found.created_at asc, found.id asc;

-- name: counts
-- How many instances there are in each of several containers.
select container_id, count(*) as instances
from instances
where hub_id = $1
    and container_id = any ($2::uuid[])
    and removed_at is null
    and ($3::text is null or hostname = $3)
    and ($4::text[] is null or state = any ($4))
    and ($5::boolean is null or scratch = $5)
group by container_id
order by container_id
limit cardinality($2::uuid[]);
