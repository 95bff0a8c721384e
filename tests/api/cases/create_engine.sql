-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- engines.create
insert into engines (hub_id, id, name, address, host, authority, certificate, sealed_key, state)
values ($1, $2, $3, $4, $5, $6, $7, $8, 'VERIFYING')
returning id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems;

COMMIT;
