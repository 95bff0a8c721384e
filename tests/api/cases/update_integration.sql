-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- integrations.lock
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2
for no key update;

-- integrations.rename
update integrations
set name = $3
where hub_id = $1 and id = $2
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

-- integrations.change_key
-- What was said of another key is no verdict on this one.
update integrations
set
    error_code = null,
    error_message = null,
    state = case when state = 'LIVE' then 'LIVE' else 'VERIFYING' end,
    key_id = case when verified_at is null then $3 else key_id end,
    sealed_key = case when verified_at is null then $4 else sealed_key end,
    next_key_id = case when verified_at is null then null else $3 end,
    next_sealed_key = case when verified_at is null then null else $4 end
where hub_id = $1 and id = $2
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

-- integrations.request_check
update integrations
set
    check_at = clock_timestamp(),
    state = case when state = 'LIVE' then 'LIVE' else 'VERIFYING' end
where hub_id = $1 and id = $2 and state in ('VERIFYING', 'LIVE', 'FAILED')
returning id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at;

COMMIT;
