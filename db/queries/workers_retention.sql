-- Cross hubs: any worker carries out the rules of every hub.

-- name: take_due
-- Containers whose rule is due, each put off at once, so that no other worker looks at it meanwhile.
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

-- name: put_off
-- A rule that could not be carried out: its container is looked at again after a while.
update backup_policies
set retention_at = now() + $3::interval
where hub_id = $1 and container_id = $2;

-- name: put_off_bucket
-- What is due of a bucket that is not ours, or cannot be asked, waits for a while.
with due as (
    select container_id
    from backup_policies
    where integration_id = $1 and retention_at <= now()
    order by container_id asc
    for update skip locked
)

update backup_policies
set retention_at = now() + $2::interval
from due
where backup_policies.container_id = due.container_id;
