-- Cross hubs: workers keep the owner objects of every hub's integrations.

-- name: add
-- An integration works for the first time: its place is to be taken.
insert into integration_owners (integration_id, hub_id)
values ($1, $2)
on conflict (integration_id) do nothing;

-- name: take_due
-- Integrations whose owner object is to be read; each is due again later, whatever becomes of this.
with due as (
    select integration_owners.integration_id
    from integration_owners
    inner join integrations on integrations.id = integration_owners.integration_id
    where integration_owners.check_at <= now()
        and (
            integrations.state = 'LIVE'
            or (integrations.state in ('FAILED', 'DELETING') and integration_owners.claimed_in is not null)
        )
    order by integration_owners.check_at asc, integration_owners.integration_id asc
    limit $1
    for update of integration_owners skip locked
)

update integration_owners
set check_at = now() + case
    when generation = 0 or claimed_in is not null then interval '20 seconds'
    else interval '1 hour'
end
where integration_id in (select due.integration_id from due)
returning integration_id;

-- name: lock
-- What is known of an owner object, for a turn of one worker.
select integration_owners.hub_id, integration_owners.generation, integration_owners.marks,
    integration_owners.stopped_at is not null and integration_owners.asked_until > now() as waits,
    integration_owners.stopped_because,
    coalesce(integration_owners.turn_until > now(), false) as taken,
    coalesce(integration_owners.claimed_in = this_place(), false) as claimed,
    coalesce(integration_owners.place <> this_place(), false) as elsewhere
from integration_owners
where integration_owners.integration_id = $1
for update;

-- name: begin_turn
-- The turn is this worker's for so long.
update integration_owners
set turn_of = $2, turn_until = now() + $3::interval
where integration_id = $1;

-- name: renew_turn
-- The turn goes on for so long from now. No row: it was over.
update integration_owners
set turn_until = now() + $3::interval
where integration_id = $1 and turn_of = $2 and turn_until > now()
returning generation;

-- name: issue
-- A mark that is about to be written. No row: the turn is over.
update integration_owners
set marks = (marks || $3::uuid)[greatest(1, cardinality(marks) + 2 - $4::integer):]
where integration_id = $1 and turn_of = $2 and turn_until > now()
returning generation;

-- name: confirm
-- The bucket holds what we wrote and nothing else: the place is ours.
update integration_owners
set
    generation = $3,
    place = this_place(),
    turn_of = null,
    turn_until = null,
    advanced_at = now(),
    check_at = now() + $4::interval,
    asked_until = null,
    stopped_at = null,
    stopped_because = null,
    claimed_in = null
where integration_id = $1 and turn_of = $2 and turn_until > now()
returning generation;

-- name: stop
-- The place is not ours: it is asked again after a while.
update integration_owners
set
    turn_of = null,
    turn_until = null,
    check_at = now() + $3::interval,
    asked_until = now() + $3::interval,
    stopped_at = coalesce(stopped_at, now()),
    stopped_because = $4
where integration_id = $1 and ($2::uuid is null or turn_of = $2)
returning generation;

-- name: end_turn
-- The bucket could not be asked: others may try.
update integration_owners
set turn_of = null, turn_until = null
where integration_id = $1 and turn_of = $2;

-- name: wake_reclaims
-- What waited for the place to be ours.
update reclaims
set not_before = now(), attempts = 0, error_code = null, error_message = null
where integration_id = $1 and settled_at is null and error_code = 'NOT_THE_OWNER';

-- name: find
-- Integrations by id or name, for the operator.
select integrations.id, integrations.hub_id, integrations.name, hubs.name as hub_name
from integrations
inner join hubs on hubs.id = integrations.hub_id
where integrations.state <> 'DELETED' and (integrations.id = $1 or integrations.name = $2)
order by integrations.created_at asc, integrations.id asc
limit 10;

-- name: stopped
-- Integrations in whose buckets this database is not the owner, for the operator.
select integration_id, hub_id
from integration_owners
where stopped_at is not null
order by stopped_at asc, integration_id asc
limit $1;
