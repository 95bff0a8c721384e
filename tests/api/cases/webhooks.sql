-- hubs.get
select id, name, created_at
from hubs
where id = $1;

-- webhooks.count
select count(*)
from webhooks
where hub_id = $1;

-- webhooks.page_up
select
    id, hub_id, url, kinds, enabled, last_delivered_at, failing_since, last_error, former_until,
    created_at
from webhooks
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
order by created_at asc, id asc
limit $6;

-- webhooks.pending
select webhook_id, count(*) as deliveries
from webhook_deliveries
where hub_id = $1 and webhook_id = any ($2::uuid[])
group by webhook_id;

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
