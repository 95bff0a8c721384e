-- name: claim
-- The first call takes the key, or one 24 h later; a call beside it waits here until that has ended.
insert into idempotency_keys (hub_id, credential_id, mutation, key, arguments)
values ($1, $2, $3, $4, $5)
on conflict (hub_id, credential_id, mutation, key) do update
set arguments = excluded.arguments, result = null, created_at = now()
where idempotency_keys.created_at < now() - interval '24 hours'
returning true;

-- name: find
-- What was kept for a key.
select arguments, result
from idempotency_keys
where hub_id = $1 and credential_id = $2 and mutation = $3 and key = $4;

-- name: keep
-- The result, for whoever asks again.
update idempotency_keys
set result = $5
where hub_id = $1 and credential_id = $2 and mutation = $3 and key = $4;
