-- integrations.by_ids
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);

-- scans.by_integrations
select
    integration_id, kind, phase, coalesce(due_at <= clock_timestamp(), false) as is_due, started_at, finished_at,
    counts, last_counts, error_code, error_message
from scans
where hub_id = $1 and integration_id = any($2::uuid[]);

-- scans.by_integrations
select
    integration_id, kind, phase, coalesce(due_at <= clock_timestamp(), false) as is_due, started_at, finished_at,
    counts, last_counts, error_code, error_message
from scans
where hub_id = $1 and integration_id = any($2::uuid[]);

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
