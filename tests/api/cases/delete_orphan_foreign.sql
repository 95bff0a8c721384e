-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- drifts.lock
select
    id, hub_id, integration_id, kind, detail, name, file_id, size_bytes, uploaded_at, backup_id, created_at,
    resolved_at, resolution, adopt_at is not null as adopting, bytes_read, error_code, error_message
from drifts
where hub_id = $1 and id = $2 and shown_at is not null
for update;

ROLLBACK;
