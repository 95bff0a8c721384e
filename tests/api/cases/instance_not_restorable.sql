-- containers.by_ids
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, created_at
from containers
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- instances.by_ids
select id, hub_id, container_id, hostname, state, executor, host, folder, variable_names, scratch,
    created_at, removed_at
from instances
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- policies.by_containers
select container_id, hub_id, integration_id, backup_command, backup_timeout, min_bytes, restore_command,
    restore_timeout, updated_at
from backup_policies
where hub_id = $1 and container_id = any ($2::uuid[])
order by container_id
limit cardinality($2::uuid[]);

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
