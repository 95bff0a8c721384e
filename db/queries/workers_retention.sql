-- Cross hubs: any worker carries out the rules of every hub.

-- name: take_due
-- Containers whose rule is due, each put off at once, so that a crash over one only delays it.
with due as (
    select container_id
    from backup_policies
    where retention_at <= now()
    order by retention_at asc, container_id asc
    limit $1
    for update skip locked
)

update backup_policies
set retention_at = now() + $2::interval
from due
where backup_policies.container_id = due.container_id
returning backup_policies.hub_id, backup_policies.container_id;
