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

-- instances.open_runs
select id, kind, instance_id
from runs
where hub_id = $1 and instance_id = any($2::uuid[]) and finished_at is null;

-- instances.update
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

COMMIT;
