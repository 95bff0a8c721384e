-- Cross hubs: the operator's commands, and the look-up of an API key before its hub is known.

-- name: create
-- A new hub; no row where the name is taken.
insert into hubs (name)
values ($1)
on conflict (name) do nothing
returning id, name, created_at;

-- name: find
-- A hub by its name, or by its id where no hub has that name.
select id, name, created_at
from hubs
where name = $1 or id = $2
order by (name = $1) desc, id asc
limit 1;

-- name: authenticate
-- The API key with this hash.
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

-- name: ending
-- Hubs in deletion, the oldest first.
select id
from hubs
where deleting_since is not null
order by deleting_since asc, id asc
limit $1;

-- name: forget
-- Remove what is left of a hub once everything is settled; false: there is more, or it is too early.
select forget_hub($1, $2);
