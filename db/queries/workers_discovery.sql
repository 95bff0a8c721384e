-- Workers write what they found on engines; each statement keeps to the engine's hub.

-- name: containers
-- The containers of identifiers, as far as they are there.
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and identifier = any ($2::text[]) and state <> 'DELETED'
order by id asc
limit cardinality($2::text[]);

-- name: lock
-- The container of an identifier, for a change that nothing else may see half done.
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and identifier = $2 and state <> 'DELETED'
limit 1
for no key update;

-- name: follow
-- The container as its labels say it.
update containers
set name = $3, stateful = $4, sources = $5
where hub_id = $1 and id = $2 and state = 'LIVE';

-- name: instances
-- The replicas of containers that are known.
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1 and container_id = any ($2::uuid[]) and replica is not null and removed_at is null
order by container_id asc, replica asc
limit $3;

-- name: lock_instances
-- The replicas of a container that are known, for a change that nothing else may see half done.
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1 and container_id = $2 and replica is not null and removed_at is null
order by id asc
limit $3
for no key update;

-- name: follow_instance
-- The replica as its engine and labels say it; not one whose former run may still be going.
update instances
set
    state = case when state in ('RUNNING', 'PAUSED', 'STOPPED', 'GONE') then $3 else state end,
    engine_container = $4,
    folder = $5,
    command_user = $6,
    sources = $7
where hub_id = $1 and id = $2 and removed_at is null and state <> 'DELETING';

-- name: lose
-- Replicas that an engine has no more.
update instances
set state = 'GONE'
where hub_id = $1
    and engine_id = $2
    and replica is not null
    and removed_at is null
    and state in ('RUNNING', 'PAUSED', 'STOPPED')
    and id <> all ($3::uuid[])
returning id;

-- name: dismissed
-- Which of an engine's containers were taken away through the API, and whether with their container.
select instances.engine_container, containers.identifier, containers.state <> 'LIVE' as is_whole
from instances
inner join containers on instances.container_id = containers.id and instances.hub_id = containers.hub_id
where instances.hub_id = $1
    and instances.engine_id = $2
    and instances.replica is not null
    and instances.engine_container = any ($3::text[])
    and (instances.removed_at is not null or instances.state = 'DELETING' or containers.state <> 'LIVE')
order by instances.id asc
limit $4;

-- name: integrations
-- Integrations of a hub that keep backups, by name; null: any.
select id, name
from integrations
where hub_id = $1 and state not in ('DELETING', 'DELETED') and ($2::text is null or name = $2)
order by id asc
limit 2;
