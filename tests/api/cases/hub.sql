-- hubs.get
select id, name, created_at
from hubs
where id = $1;

-- integrations.count
select count(*)
from integrations
where hub_id = $1
    and state = any ($2::text[]);

-- integrations.page_down
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1
    and (created_at, id) < ($2::timestamptz, $3::uuid)
    and (created_at, id) > ($4::timestamptz, $5::uuid)
    and state = any ($6::text[])
order by created_at desc, id desc
limit $7;

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
