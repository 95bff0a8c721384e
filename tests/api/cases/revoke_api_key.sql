-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- keys.revoke
update api_keys
set revoked_at = coalesce(revoked_at, now())
where hub_id = $1 and id = $2
returning id, hub_id, name, prefix, role, capabilities, created_at, expires_at, revoked_at;

COMMIT;
