-- name: get
-- One hub.
select id, name, created_at
from hubs
where id = $1;
