-- Cross hubs: what is too old goes, whoever's it is.

-- name: prune
-- Keys that count no more.
delete from idempotency_keys
where created_at < now() - interval '24 hours';
