-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- containers.lock
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = $2
for no key update;

-- schedules.remove
delete from schedules
where hub_id = $1 and container_id = any ($2::uuid[]);

-- policies.remove
delete from backup_policies
where hub_id = $1 and container_id = $2;

COMMIT;
