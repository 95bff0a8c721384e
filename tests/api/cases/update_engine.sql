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

-- engines.change
update engines
set
    name = coalesce($3, name),
    authority = coalesce($4, authority),
    certificate = coalesce($5, certificate),
    sealed_key = coalesce($6, sealed_key),
    check_at = now()
where hub_id = $1 and id = $2
returning id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems;

COMMIT;
