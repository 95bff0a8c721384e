-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- webhooks.delete
delete from webhooks
where hub_id = $1 and id = $2
returning id;

COMMIT;
