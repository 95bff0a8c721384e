-- name: create
-- A new webhook.
insert into webhooks (hub_id, id, url, kinds, sealed_secret)
values ($1, $2, $3, $4, $5)
returning
    id, hub_id, url, kinds, enabled, last_delivered_at, failing_since, last_error, former_until,
    created_at;

-- name: by_ids
-- Several webhooks by id.
select
    id, hub_id, url, kinds, enabled, last_delivered_at, failing_since, last_error, former_until,
    created_at
from webhooks
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- name: lock
-- One webhook, that nobody changes meanwhile.
select
    id, hub_id, url, kinds, enabled, last_delivered_at, failing_since, last_error, former_until,
    created_at
from webhooks
where hub_id = $1 and id = $2
for update;

-- name: change
-- What a webhook is; one that is switched on again begins anew.
update webhooks
set
    url = $3,
    kinds = $4,
    enabled = $5,
    failing_since = case when $5 and not enabled then null else failing_since end,
    last_error = case when $5 and not enabled then null else last_error end
where hub_id = $1 and id = $2;

-- name: replace_secret
-- A new secret; the former one signs too for a while.
update webhooks
set
    sealed_secret = $3,
    former_sealed_secret = sealed_secret,
    former_until = now() + $4::interval
where hub_id = $1 and id = $2;

-- name: delete
-- The webhook is gone, and what it was still to be sent.
delete from webhooks
where hub_id = $1 and id = $2
returning id;

-- name: page_down
-- A page of a list, newest first, between two places that are not in it.
select
    id, hub_id, url, kinds, enabled, last_delivered_at, failing_since, last_error, former_until,
    created_at
from webhooks
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
order by created_at desc, id desc
limit $6;

-- name: page_up
-- A page of a list, oldest first, between two places that are not in it.
select
    id, hub_id, url, kinds, enabled, last_delivered_at, failing_since, last_error, former_until,
    created_at
from webhooks
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
order by created_at asc, id asc
limit $6;

-- name: count
-- How many there are.
select count(*)
from webhooks
where hub_id = $1;

-- name: pending
-- How many events each webhook is still to be sent; one without any has no row.
select webhook_id, count(*) as deliveries
from webhook_deliveries
where hub_id = $1 and webhook_id = any ($2::uuid[])
group by webhook_id;

-- name: queue
-- An event is to be sent to each webhook that wants it.
insert into webhook_deliveries (hub_id, webhook_id, event_id)
select webhooks.hub_id, webhooks.id, $2::uuid
from webhooks
where webhooks.hub_id = $1
    and webhooks.enabled
    and (webhooks.kinds is null or $3::text = any(webhooks.kinds))
returning id;

-- name: forget
-- What a webhook was still to be sent is dropped.
delete from webhook_deliveries
where hub_id = $1 and webhook_id = $2;
