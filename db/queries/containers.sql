-- name: get
-- One container by id.
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = $2;

-- name: by_ids
-- Several containers by id.
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- name: lock
-- One container, for a change that nothing else may see half done.
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = $2
for no key update;

-- name: hold
-- One container that must stay as it is until the transaction ends.
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = $2
for share;

-- name: hold_identifier
-- The container of an identifier, which must stay as it is until the transaction ends.
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and identifier = $2 and state <> 'DELETED'
limit 1
for share;

-- name: create
-- A new container; no row where the identifier is taken.
insert into containers (
    hub_id, identifier, name, stateful, labels, found_engine_id, found_project, found_service, sources
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (hub_id, identifier) where state <> 'DELETED' do nothing
returning id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources;

-- name: update
-- Another name, other labels.
update containers
set name = $3, labels = $4, sources = $5
where hub_id = $1 and id = $2 and state = 'LIVE'
returning id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources;

-- name: set_sources
-- Where the values of a container that was found come from.
update containers
set sources = $3
where hub_id = $1 and id = $2 and sources <> $3;

-- name: follow_labels
-- The policy and instances of a container that was found follow labels again, as soon as its engine was looked at.
with policy as (
    update backup_policies
    set sources = '{"enabled": "DEFAULT"}'
    where hub_id = $1 and container_id = $2 and sources = '{}'
),

replicas as (
    update instances
    set sources = sources - array['folder']
    where hub_id = $1 and container_id = $2 and replica is not null and sources ->> 'folder' = 'API'
)

update engines
set check_at = now(), changes = changes + 1
where hub_id = $1 and id = (select found_engine_id from containers where hub_id = $1 and id = $2);

-- name: begin_deletion
-- The container goes; what belongs to it goes by statements of its own.
update containers
set deleting_since = now(), goes_at = now() + $3::interval, state = 'DELETING'
where hub_id = $1 and id = $2 and state = 'LIVE'
returning id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources;

-- name: end_deletion
-- The container stays after all; no row where its time has come.
update containers
set deleting_since = null, goes_at = null, state = 'LIVE'
where hub_id = $1 and id = $2 and state = 'DELETING' and goes_at > now()
returning id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources;

-- name: live
-- Containers of a hub that are not going yet.
select id
from containers
where hub_id = $1 and state = 'LIVE'
order by id asc
limit $2;

-- name: cancel_runs
-- Ask every open run of a container to end; what one carries ends with it.
with held as (
    select id
    from runs
    where hub_id = $1 and container_id = $2 and finished_at is null and carried_by is null
    order by id asc
    for update
)

update runs
set cancel = true
where hub_id = $1 and id in (select held.id from held)
returning id;

-- name: page_down
-- A page of a list, newest first, between two places that are not in it.
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
    and ($6::text is null or identifier = $6)
    and ($7::boolean is null or stateful = $7)
    and state = any ($8::text[])
order by created_at desc, id desc
limit $9;

-- name: page_up
-- A page of a list, oldest first, between two places that are not in it.
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
    and ($6::text is null or identifier = $6)
    and ($7::boolean is null or stateful = $7)
    and state = any ($8::text[])
order by created_at asc, id asc
limit $9;

-- name: count
-- How many there are in a list.
select count(*)
from containers
where hub_id = $1
    and ($2::text is null or identifier = $2)
    and ($3::boolean is null or stateful = $3)
    and state = any ($4::text[]);

-- name: look
-- The state of one container, what time it is, and its newest backups of the last while.
select
    state,
    now() as at,
    array(
        select backups.id
        from backups
        where backups.hub_id = $1
            and backups.container_id = $2
            and backups.created_at > now() - $3::interval
        order by backups.created_at desc, backups.id desc
        limit $4
    ) as recent
from containers
where hub_id = $1 and id = $2;
