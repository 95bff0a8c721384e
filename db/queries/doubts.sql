-- name: open
-- A restore may have left the instance in pieces: what is saved of it from now on is in doubt.
insert into instance_doubts (hub_id, container_id, hostname)
select instances.hub_id, instances.container_id, instances.hostname
from instances
where instances.hub_id = $1 and instances.id = $2;

-- name: close
-- The instance is well from now on.
update instance_doubts
set ended_at = now()
from instances
where instance_doubts.hub_id = $1
    and instances.hub_id = $1
    and instances.id = $2
    and instance_doubts.container_id = instances.container_id
    and instance_doubts.hostname = instances.hostname
    and instance_doubts.ended_at is null;

-- name: close_by_proof
-- A backup was proven: its instance was well when that was taken.
update instance_doubts
set ended_at = coalesce(runs.started_at, backups.created_at)
from backups
inner join runs on runs.id = backups.id
where instance_doubts.hub_id = $1
    and backups.hub_id = $1
    and backups.id = $2
    and instance_doubts.container_id = backups.container_id
    and instance_doubts.hostname = backups.instance_hostname
    and instance_doubts.since <= coalesce(runs.started_at, backups.created_at)
    and coalesce(instance_doubts.ended_at > coalesce(runs.started_at, backups.created_at), true);

-- name: open_since
-- Since when each instance is in doubt; one that is not has no row.
select instances.id, min(instance_doubts.since) as since
from instances
inner join instance_doubts
    on instance_doubts.hub_id = instances.hub_id
    and instance_doubts.container_id = instances.container_id
    and instance_doubts.hostname = instances.hostname
    and instance_doubts.ended_at is null
where instances.hub_id = $1 and instances.id = any($2::uuid[])
group by instances.id;
