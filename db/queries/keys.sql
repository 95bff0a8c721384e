-- name: create
-- A new API key; only its hash is kept.
insert into api_keys (hub_id, name, prefix, hash, role)
values ($1, $2, $3, $4, $5)
returning id;
