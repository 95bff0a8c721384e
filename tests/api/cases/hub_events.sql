-- containers.by_ids
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- events.following
select
    id, hub_id, kind, message, container_id, instance_id, backup_id, restore_id, verification_id,
    integration_id, data, created_at, number
from events
where hub_id = $1 and number > $2 and ($3::text[] is null or kind = any($3))
order by number
limit $4;

-- events.following
select
    id, hub_id, kind, message, container_id, instance_id, backup_id, restore_id, verification_id,
    integration_id, data, created_at, number
from events
where hub_id = $1 and number > $2 and ($3::text[] is null or kind = any($3))
order by number
limit $4;

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
