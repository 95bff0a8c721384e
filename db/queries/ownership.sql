-- name: claim
-- The operator's word that this database is the owner: a worker writes it into the bucket.
insert into integration_owners (hub_id, integration_id, claimed_in, check_at)
values ($1, $2, this_place(), now())
on conflict (integration_id) do update set claimed_in = this_place(), check_at = now();

-- name: look
-- Since when the place of each of these integrations is not this database's, and why.
select integration_id, stopped_at, stopped_because
from integration_owners
where hub_id = $1 and integration_id = any ($2::uuid[]) and stopped_at is not null;
