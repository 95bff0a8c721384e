-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- containers.lock
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = $2
for no key update;

-- containers.update
update containers
set name = $3, labels = $4, sources = $5
where hub_id = $1 and id = $2 and state = 'LIVE'
returning id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources;

-- containers.follow_labels
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

COMMIT;
