-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- webhooks.count
select count(*)
from webhooks
where hub_id = $1;

-- webhooks.create
insert into webhooks (hub_id, id, url, kinds, sealed_secret)
values ($1, $2, $3, $4, $5)
returning
    id, hub_id, url, kinds, enabled, last_delivered_at, failing_since, last_error, former_until,
    created_at;

COMMIT;

-- webhooks.pending
select webhook_id, count(*) as deliveries
from webhook_deliveries
where hub_id = $1 and webhook_id = any ($2::uuid[])
group by webhook_id;
