-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- idempotency.claim
insert into idempotency_keys (hub_id, credential_id, mutation, key, arguments)
values ($1, $2, $3, $4, $5)
on conflict (hub_id, credential_id, mutation, key) do update
set arguments = excluded.arguments, result = null, created_at = now()
where idempotency_keys.created_at < now() - interval '24 hours'
returning true;

-- keys.create
insert into api_keys (hub_id, name, prefix, hash, role, capabilities, expires_at)
values ($1, $2, $3, $4, $5, $6, $7)
returning id, hub_id, name, prefix, role, capabilities, created_at, expires_at, revoked_at;

-- idempotency.keep
update idempotency_keys
set result = $5
where hub_id = $1 and credential_id = $2 and mutation = $3 and key = $4;

COMMIT;

BEGIN;

-- idempotency.claim
insert into idempotency_keys (hub_id, credential_id, mutation, key, arguments)
values ($1, $2, $3, $4, $5)
on conflict (hub_id, credential_id, mutation, key) do update
set arguments = excluded.arguments, result = null, created_at = now()
where idempotency_keys.created_at < now() - interval '24 hours'
returning true;

-- idempotency.find
select arguments, result
from idempotency_keys
where hub_id = $1 and credential_id = $2 and mutation = $3 and key = $4;

-- keys.by_ids
select id, hub_id, name, prefix, role, capabilities, created_at, expires_at, revoked_at
from api_keys
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

COMMIT;
