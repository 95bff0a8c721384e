-- name: expected
-- Where the objects of LIVE backups are and what they must be; the other backups have no row.
select
    backups.id,
    backups.object_name,
    backups.file_id,
    backups.size_bytes,
    backups.sha256,
    integrations.id as integration_id,
    integrations.realm,
    integrations.key_id,
    integrations.sealed_key,
    integrations.bucket,
    integrations.prefix
from backups
inner join integrations on integrations.id = backups.integration_id
where backups.hub_id = $1 and backups.id = any($2::uuid[]) and backups.state = 'LIVE';

-- name: chunk_hashes
-- The hashes of an object's chunks, joined.
select chunk_hashes
from backups
where hub_id = $1 and id = $2 and state = 'LIVE';

-- name: record
-- What was seen of the objects of LIVE backups. Only reading all of its bytes ($4) clears a mismatch.
with seen as (
    select told.id, told.status
    from unnest($2::uuid[], $3::text[]) as told (id, status)
),

held as (
    select backups.id, backups.storage_status as before
    from backups
    inner join seen on seen.id = backups.id
    where backups.hub_id = $1
        and backups.state = 'LIVE'
        and backups.storage_status <> 'LOSS_ACCEPTED'
    order by backups.id asc
    for update of backups
)

update backups
set
    storage_status = case
        when held.before = 'MISMATCH' and seen.status = 'PRESENT' and not $4::boolean then held.before
        else seen.status
    end,
    storage_checked_at = now()
from held
inner join seen on seen.id = held.id
where backups.hub_id = $1 and backups.id = held.id
returning
    backups.id,
    backups.container_id,
    backups.storage_status,
    backups.storage_checked_at,
    backups.storage_status <> held.before as changed;
