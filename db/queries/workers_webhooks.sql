-- Cross hubs: any worker sends what any hub's webhooks are to be sent.

-- name: take_due
-- What is due, at most $2 a webhook, each put off at once, so that a crash over one only delays it.
with due as (
    select picked.id
    from (select distinct webhook_id from webhook_deliveries where not_before <= now()) as waiting
    cross join lateral (
        select webhook_deliveries.id
        from webhook_deliveries
        where webhook_deliveries.webhook_id = waiting.webhook_id
            and webhook_deliveries.not_before <= now()
        order by webhook_deliveries.not_before asc, webhook_deliveries.id asc
        limit $2
        for update skip locked
    ) as picked
    limit $1
),

taken as (
    update webhook_deliveries
    set
        attempts = webhook_deliveries.attempts + 1,
        not_before = now() + least(
            interval '5 seconds' * power(4, least(webhook_deliveries.attempts, 10)) * (0.75 + random() / 2),
            interval '6 hours'
        )
    from due
    where webhook_deliveries.id = due.id
    returning
        webhook_deliveries.id, webhook_deliveries.webhook_id, webhook_deliveries.hub_id,
        webhook_deliveries.event_id, webhook_deliveries.attempts
)

select
    taken.id,
    taken.webhook_id,
    taken.hub_id,
    taken.event_id,
    taken.attempts,
    webhooks.url,
    webhooks.sealed_secret,
    case when webhooks.former_until > now() then webhooks.former_sealed_secret end as former_sealed_secret,
    webhooks.enabled,
    now() as at
from taken
inner join webhooks on webhooks.id = taken.webhook_id
order by taken.webhook_id asc, taken.id asc;

-- name: lock
-- The webhook whose delivery has ended.
select id, hub_id, enabled, failing_since < now() - $2::interval as is_hopeless
from webhooks
where id = $1
for update;

-- name: settle
-- It was sent, or never will be.
delete from webhook_deliveries
where id = $1;

-- name: give_up
-- It was tried for too long.
delete from webhook_deliveries
where id = $1 and created_at < now() - $2::interval;

-- name: delivered
-- The receiver took it.
update webhooks
set last_delivered_at = now(), failing_since = null, last_error = null
where id = $1;

-- name: failed
-- The receiver did not take it.
update webhooks
set last_error = $2, failing_since = coalesce(failing_since, now())
where id = $1;

-- name: disable
-- Nothing is sent to it any more.
update webhooks
set enabled = false
where id = $1;

-- name: forget
-- What a webhook was still to be sent is dropped.
delete from webhook_deliveries
where webhook_id = $1;
