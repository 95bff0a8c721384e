-- engines.count
select count(*)
from engines
where hub_id = $1 and state <> 'DELETED';

-- engines.page_down
select id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems
from engines
where hub_id = $1
    and state <> 'DELETED'
    and (created_at, id) > ($2::timestamptz, $3::uuid)
    and (created_at, id) < ($4::timestamptz, $5::uuid)
order by created_at desc, id desc
limit $6;

-- hubs.get
select id, name, created_at
from hubs
where id = $1;

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
