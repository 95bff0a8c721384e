-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- engines.lock
select id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems
from engines
where hub_id = $1 and id = $2
for update;

ROLLBACK;
