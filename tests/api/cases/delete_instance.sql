-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- instances.lock
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1 and id = $2
for no key update;

-- instances.cancel_run
update runs
set cancel = true
where hub_id = $1 and instance_id = $2 and finished_at is null
returning id;

-- instances.begin_deletion
update instances
set removed_at = case when $3 then now() end, state = 'DELETING'
where hub_id = $1 and id = $2 and removed_at is null
returning id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources;

COMMIT;
