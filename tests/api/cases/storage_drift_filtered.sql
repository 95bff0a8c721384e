-- drifts.count
select count(*)
from drifts
where hub_id = $1
    and shown_at is not null
    and resolved_at is null
    and ($2::uuid is null or integration_id = $2)
    and ($3::text[] is null or kind = any($3));

-- drifts.page_up
select
    id, hub_id, integration_id, kind, detail, name, file_id, size_bytes, uploaded_at, backup_id, created_at,
    resolved_at, resolution, adopt_at is not null as adopting, bytes_read, error_code, error_message
from drifts
where hub_id = $1
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
    and shown_at is not null
    and resolved_at is null
    and ($6::uuid is null or integration_id = $6)
    and ($7::text[] is null or kind = any($7))
order by created_at asc, id asc
limit $8;

-- hubs.get
select id, name, created_at
from hubs
where id = $1;

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
