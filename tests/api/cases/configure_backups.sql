-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- containers.lock
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, created_at
from containers
where hub_id = $1 and id = $2
for no key update;

-- integrations.hold
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2
for share;

-- policies.put
insert into backup_policies (
    hub_id, container_id, integration_id, backup_command, backup_timeout, min_bytes,
    restore_command, restore_timeout
)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (container_id) do update
set
    integration_id = excluded.integration_id,
    backup_command = excluded.backup_command,
    backup_timeout = excluded.backup_timeout,
    min_bytes = excluded.min_bytes,
    restore_command = excluded.restore_command,
    restore_timeout = excluded.restore_timeout,
    updated_at = now()
returning container_id, hub_id, integration_id, backup_command, backup_timeout, min_bytes, restore_command,
    restore_timeout, updated_at;

-- instances.running
select id, hub_id, container_id, hostname, state, executor, host, folder, variable_names, scratch,
    created_at, removed_at
from instances
where hub_id = $1 and container_id = $2 and removed_at is null and state = 'RUNNING'
order by created_at asc, id asc
limit $3;

COMMIT;

-- integrations.by_ids
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);
