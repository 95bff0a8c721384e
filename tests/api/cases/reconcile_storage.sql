-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- integrations.hold
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2
for share;

-- scans.request
insert into scans (hub_id, integration_id, kind, due_at, believed, former_hub_id)
values ($1, $2, $3, clock_timestamp(), $4, $5)
on conflict (integration_id, kind) do update
set
    due_at = least(scans.due_at, excluded.due_at),
    believed = excluded.believed or (scans.believed and scans.phase is not null),
    former_hub_id = coalesce(excluded.former_hub_id, scans.former_hub_id),
    error_code = null,
    error_message = null
where scans.hub_id = $1;

-- integrations.get
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2;

COMMIT;

-- scans.by_integrations
select
    integration_id, kind, phase, coalesce(due_at <= clock_timestamp(), false) as is_due, started_at, finished_at,
    counts, last_counts, error_code, error_message
from scans
where hub_id = $1 and integration_id = any($2::uuid[]);
