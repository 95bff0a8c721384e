-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- integrations.create
insert into integrations (hub_id, id, name, realm, key_id, sealed_key, bucket, prefix, state)
values ($1, $2, $3, $4, $5, $6, $7, $8, 'VERIFYING')
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

-- scans.add
insert into scans (hub_id, integration_id, kind, due_at)
values ($1, $2, 'RECONCILE', now() + interval '1 day')
on conflict (integration_id, kind) do nothing;

COMMIT;
