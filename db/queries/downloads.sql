-- name: create
-- A new address; only a hash of what makes it secret is kept.
insert into downloads (hub_id, backup_id, hash, requested_by_id, expires_at)
values ($1, $2, $3, $4, now() + $5::interval)
returning id, backup_id, expires_at;

-- name: get
-- One address by its id.
select id, backup_id, expires_at
from downloads
where hub_id = $1 and id = $2;
