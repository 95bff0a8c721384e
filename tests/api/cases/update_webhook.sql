-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- webhooks.lock
select
    id, hub_id, url, kinds, enabled, last_delivered_at, failing_since, last_error, former_until,
    created_at
from webhooks
where hub_id = $1 and id = $2
for update;

-- webhooks.change
update webhooks
set
    url = $3,
    kinds = $4,
    enabled = $5,
    failing_since = case when $5 and not enabled then null else failing_since end,
    last_error = case when $5 and not enabled then null else last_error end
where hub_id = $1 and id = $2;

-- webhooks.forget
delete from webhook_deliveries
where hub_id = $1 and webhook_id = $2;

-- webhooks.replace_secret
update webhooks
set
    sealed_secret = $3,
    former_sealed_secret = sealed_secret,
    former_until = now() + $4::interval
where hub_id = $1 and id = $2;

-- webhooks.by_ids
select
    id, hub_id, url, kinds, enabled, last_delivered_at, failing_since, last_error, former_until,
    created_at
from webhooks
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

COMMIT;
