-- Cross hubs: a lease is a worker's hold of an instance, whoever's it is; or, where a run needs no instance, of that
-- run alone. All times are the database's own, by clock_timestamp(): a transaction may have waited for a lock since its now().

-- name: take
-- The instance is this try's, unless somebody holds it.
insert into leases as held (instance_id, run_id, epoch, owner, lease_until)
values ($1, $2, $3, $4, clock_timestamp() + $5::interval)
on conflict (instance_id) do update
set
    run_id = excluded.run_id,
    epoch = excluded.epoch,
    owner = excluded.owner,
    lease_until = clock_timestamp() + $5::interval
where held.run_id is null or held.lease_until < clock_timestamp()
returning true;

-- name: take_run
-- The run, which needs no instance, is this try's, unless somebody holds it.
insert into leases as held (run_id, epoch, owner, lease_until)
values ($1, $2, $3, clock_timestamp() + $4::interval)
on conflict (run_id) do update
set
    epoch = excluded.epoch,
    owner = excluded.owner,
    lease_until = clock_timestamp() + $4::interval
where held.instance_id is null and held.lease_until < clock_timestamp()
returning true;

-- name: renew
-- Those of an owner's leases that are still its own, for a while longer; locked in one order.
with held as (
    select leases.run_id
    from leases
    inner join unnest($2::uuid[], $3::bigint[]) as wanted (run_id, epoch)
        on wanted.run_id = leases.run_id
        and wanted.epoch = leases.epoch
    where leases.owner = $1
    order by leases.run_id asc
    for update of leases
)

update leases
set lease_until = clock_timestamp() + $4::interval
from held
where leases.run_id = held.run_id and leases.lease_until >= clock_timestamp()
returning leases.run_id;

-- name: let_go
-- The instance is free, if it was this try's.
update leases
set run_id = null, epoch = null, owner = null, lease_until = null
where instance_id = $1 and run_id = $2 and epoch = $3
returning true;

-- name: let_go_run
-- The hold of a run that needed no instance is over, if it was this try's.
delete from leases
where instance_id is null and run_id = $1 and epoch = $2
returning true;
