-- name: get
-- One hub.
select id, name, created_at
from hubs
where id = $1;

-- name: begin_deletion
-- The hub goes; no row where it goes already.
update hubs
set deleting_since = now()
where id = $1 and deleting_since is null
returning id, name, created_at;
