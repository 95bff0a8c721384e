-- Cross hubs: sweeps look after the runs, containers and instances of every hub.

-- name: next_in_turn
-- The oldest run that can be claimed at a place, of the first hub behind $2 that has one.
-- Hubs of $3 are passed over unless they are the only one, runs of $4 always.
select runs.id, runs.hub_id
from runs
where runs.finished_at is null
    and runs.place = $1
    and runs.hub_id > $2
    and runs.not_before <= now()
    and runs.id <> all($4::uuid[])
    and (
        runs.hub_id <> all($3::uuid[])
        or not exists (select from hubs where hubs.id <> runs.hub_id)
    )
    and not exists (select from leases where leases.run_id = runs.id and leases.lease_until > now())
order by runs.hub_id asc, runs.created_at asc, runs.id asc
limit 1;

-- name: unstarted
-- Runs that no worker took in time.
select id
from runs
where finished_at is null and owner is null and start_by < now() and carried_by is null
order by created_at asc, id asc
limit $1;

-- name: canceled_waiting
-- Runs that were cancelled while no worker had them.
select id
from runs
where finished_at is null and owner is null and cancel and carried_by is null
order by created_at asc, id asc
limit $1;

-- name: past_deadline
-- Runs whose owner should have ended them by now; one that never began one counts from its start.
select id
from runs
where finished_at is null
    and carried_by is null
    and owner is not null
    and coalesce(deadline_at, start_by) + $1::interval < now()
order by created_at asc, id asc
limit $2;

-- name: owner_lost
-- Runs whose lease passed long ago: no worker reaches their place.
select runs.id
from leases
inner join runs on runs.id = leases.run_id
where runs.finished_at is null and leases.lease_until + $1::interval < now()
order by leases.lease_until asc, runs.id asc
limit $2;

-- name: is_still_lost
-- Whether nobody has renewed a run's lease, now that the run is locked.
select exists (
    select
    from leases
    where run_id = $1 and lease_until + $2::interval < now()
);

-- name: leave_unreachable
-- Nobody knows what still runs in an instance.
update instances
set state = 'UNREACHABLE'
where id = $1 and removed_at is null and state <> 'DELETING';

-- name: left
-- What lost owners left at these places, where no run is going that kills it anyway.
select leases.instance_id, instances.hub_id, leases.leftover
from leases
inner join instances on instances.id = leases.instance_id
where leases.leftover is not null
    and leases.run_id is null
    and leases.leftover ->> 'place' = any($1::text[])
order by leases.instance_id asc
limit $2;

-- name: lock_left
-- The lease whose leftover was killed.
select leftover
from leases
where instance_id = $1 and run_id is null
for update;

-- name: forget_left
-- What a lost owner had left is dead.
update leases
set leftover = null
where instance_id = $1 and run_id is null;

-- name: reach_again
-- Commands can run in the instance again.
update instances
set state = 'RUNNING'
where id = $1 and removed_at is null and state = 'UNREACHABLE';

-- name: ending_containers
-- Containers that may be gone by now.
select containers.id, containers.hub_id
from containers
where containers.state = 'DELETING'
    and containers.deleting_since + $1::interval <= now()
    and coalesce(containers.goes_at <= now(), true)
    and not exists (
        select
        from backups
        where backups.hub_id = containers.hub_id
            and backups.container_id = containers.id
            and backups.state in ('QUEUED', 'SAVING', 'LIVE', 'DELETING')
    )
    and not exists (
        select
        from runs
        where runs.container_id = containers.id and runs.finished_at is null
    )
order by containers.deleting_since asc, containers.id asc
limit $2;

-- name: end_container
-- A container is gone once none of its backups or runs is going, and B2 has confirmed for all.
update containers
set state = 'DELETED'
where id = $1
    and state = 'DELETING'
    and not exists (
        select
        from backups
        where backups.hub_id = containers.hub_id
            and backups.container_id = containers.id
            and (
                backups.state in ('QUEUED', 'SAVING', 'LIVE', 'DELETING')
                or exists (
                    select
                    from reclaims
                    where reclaims.backup_id = backups.id
                        and reclaims.settled_at is null
                        and reclaims.confirmed_at is null
                )
            )
    )
    and not exists (
        select
        from runs
        where runs.container_id = $1 and runs.finished_at is null
    )
returning id;

-- name: remove_instances
-- The instances of a container that is gone.
update instances
set removed_at = now(), state = 'DELETING'
where container_id = $1 and removed_at is null;

-- name: end_instances
-- Instances that are to go, once no run is open in them.
update instances
set removed_at = now()
where state = 'DELETING'
    and removed_at is null
    and not exists (
        select
        from runs
        where runs.instance_id = instances.id and runs.finished_at is null
    )
returning id;

-- name: prune_restores
-- Records of restores that ended long ago; those of verifications go with these.
with old as (
    select restores.id
    from restores
    inner join runs on runs.id = restores.id
    where restores.trigger <> 'VERIFICATION' and runs.finished_at < now() - $1::interval
    order by runs.finished_at asc, restores.id asc
    limit $2
)

delete from restores
using old
where restores.id = old.id
returning restores.id;

-- name: prune_verifications
-- Records of verifications that ended long ago; the last one of a backup stays as long as that can be restored.
with old as (
    select verifications.id
    from verifications
    inner join runs on runs.id = verifications.id
    inner join backups on backups.id = verifications.backup_id
    where runs.finished_at < now() - $1::interval
        and (
            backups.state <> 'LIVE'
            or exists (
                select
                from verifications as later
                where later.hub_id = verifications.hub_id
                    and later.backup_id = verifications.backup_id
                    and later.state in ('PASSED', 'FAILED')
                    and (later.created_at, later.id) > (verifications.created_at, verifications.id)
            )
        )
    order by runs.finished_at asc, verifications.id asc
    limit $2
)

delete from verifications
using old
where verifications.id = old.id
returning verifications.id;

-- name: prune_restores_of
-- The restores that these verifications made.
delete from restores
where id = any($1::uuid[]);

-- name: prune_backups
-- Records of backups that ended long ago and have, or had, nothing in the bucket any more.
with old as (
    select backups.id
    from backups
    inner join runs on runs.id = backups.id
    where (
        (
            backups.state in ('FAILED', 'CANCELED', 'SKIPPED')
            and runs.finished_at < now() - $1::interval
        )
        or (backups.state = 'DELETED' and backups.deleted_at < now() - $1::interval)
    )
    and not exists (
        select
        from restores
        where restores.hub_id = backups.hub_id and restores.backup_id = backups.id
    )
    and not exists (
        select
        from verifications
        where verifications.hub_id = backups.hub_id and verifications.backup_id = backups.id
    )
    and not exists (
        select
        from reclaims
        where reclaims.backup_id = backups.id and reclaims.settled_at is null
    )
    order by runs.finished_at asc, backups.id asc
    limit $2
)

delete from backups
using old
where backups.id = old.id
returning backups.id;

-- name: prune_logs
-- The logs of records that are gone.
delete from run_logs
where run_id = any($1::uuid[]);

-- name: prune_runs
-- The runs of records that are gone.
delete from runs
where id = any($1::uuid[]);

-- name: prune_reclaims
-- Promises that were kept long ago.
delete from reclaims
where settled_at < now() - $1::interval;

-- name: prune_events
-- What people were told of long ago.
with old as (
    select id
    from events
    where created_at < now() - $1::interval
    order by created_at asc, id asc
    limit $2
)

delete from events
using old
where events.id = old.id
returning events.id;
