-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- containers.create
insert into containers (
    hub_id, identifier, name, stateful, labels, found_engine_id, found_project, found_service, sources
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (hub_id, identifier) where state <> 'DELETED' do nothing
returning id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources;

COMMIT;
