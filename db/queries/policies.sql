-- name: by_containers
-- The policies of several containers.
select container_id, hub_id, integration_id, backup_command, backup_timeout, min_bytes, restore_command,
    restore_timeout, updated_at
from backup_policies
where hub_id = $1 and container_id = any ($2::uuid[])
order by container_id
limit cardinality($2::uuid[]);

-- name: put
-- The policy of a container, whole.
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

-- name: remove
-- The container has no policy any more.
delete from backup_policies
where hub_id = $1 and container_id = $2;
