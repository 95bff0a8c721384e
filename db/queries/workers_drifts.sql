-- Cross hubs: workers compare every hub's bucket with its records.

-- name: records_between
-- Records by their objects' names, as B2 sorts them, from one name up to another.
select
    backups.id, backups.state, backups.object_name, backups.file_id, backups.manifest_file_id,
    backups.size_bytes, backups.storage_status, runs.finished_at
from backups
inner join runs on runs.id = backups.id
where backups.integration_id = $1
    and backups.object_name collate "C" >= $2
    and backups.object_name collate "C" < $3
order by backups.object_name collate "C" asc, backups.id asc
limit $4;

-- name: records_named
-- Records of exactly these names.
select
    backups.id, backups.state, backups.object_name, backups.file_id, backups.manifest_file_id,
    backups.size_bytes, backups.storage_status, runs.finished_at
from backups
inner join runs on runs.id = backups.id
where backups.integration_id = $1 and backups.object_name collate "C" = any($2::text[]);

-- name: taken_ids
-- Which of these backups have a record, whoever's it is.
select id
from backups
where id = any($1::uuid[]);

-- name: pending
-- What is to be removed already, of these names.
select name, file_id
from reclaims
where integration_id = $1 and name = any($2::text[]) and settled_at is null;

-- name: see_again
-- What was known already was seen by this walk, too.
update drifts
set found_in = $2
from unnest($3::text[], $4::text[]) as seen (kind, file_id)
where drifts.integration_id = $1
    and drifts.kind = seen.kind
    and drifts.file_id = seen.file_id
    and drifts.resolved_at is null
returning drifts.kind, drifts.file_id;

-- name: stage
-- What was not known; nobody sees it before the walk has come to its end.
insert into drifts (
    hub_id, integration_id, found_in, kind, detail, name, file_id, size_bytes, uploaded_at, backup_id
)
select $1, $2, $3, found.kind, found.detail, found.name, found.file_id, found.size_bytes, found.uploaded_at,
    found.backup_id
from unnest(
    $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::timestamptz[], $10::uuid[]
) as found (kind, detail, name, file_id, size_bytes, uploaded_at, backup_id)
on conflict (integration_id, kind, file_id) where resolved_at is null do update
set found_in = excluded.found_in;

-- name: count_kept
-- How many of each kind are kept of an integration.
select kind, count(*) as kept
from drifts
where integration_id = $1 and resolved_at is null and kind in ('ORPHAN', 'UNFINISHED', 'FOREIGN')
group by kind
order by kind asc
limit 3;

-- name: unwitnessed
-- What is said to be gone or different and was not asked for by its id yet; and the size that it should have.
select drifts.id, drifts.detail, drifts.file_id, backups.size_bytes
from drifts
left join backups on backups.id = drifts.backup_id
where drifts.integration_id = $1
    and drifts.found_in = $2
    and drifts.witnessed_in < $2
    and drifts.resolved_at is null
    and drifts.kind in ('MISSING', 'MISMATCH')
order by drifts.id asc
limit $3;

-- name: witness
-- B2 said of each by its id what the listing had said.
update drifts
set witnessed_in = $2
where id = any($1::uuid[]);

-- name: forget
-- B2 has what the listing did not show: what nobody saw yet never was, what was shown is no more.
update drifts
set found_in = 0
where id = any($1::uuid[]);

-- name: discard
-- What walks up to this one found and nobody was shown.
with found as (
    select id
    from drifts
    where integration_id = $1 and found_in <= $2 and resolved_at is null and shown_at is null
    order by id asc
    limit $3
)

delete from drifts
using found
where drifts.id = found.id
returning drifts.id;

-- name: mark_present
-- LIVE backups that the walk found as they should be, from one name on; `changed`: their records said something else.
-- What was looked at since counts more, and a mismatch is cleared only by reading all bytes.
with page as (
    select backups.id, backups.object_name, backups.state, backups.storage_status, backups.storage_checked_at,
        runs.finished_at
    from backups
    inner join runs on runs.id = backups.id
    where backups.integration_id = $1 and backups.object_name collate "C" > $2
    order by backups.object_name collate "C" asc
    limit $5
),

held as (
    select backups.id, backups.storage_status as before
    from backups
    inner join page on page.id = backups.id
    where page.state = 'LIVE'
        and page.finished_at < $4
        and backups.state = 'LIVE'
        and backups.storage_status in ('UNCHECKED', 'PRESENT', 'MISSING')
        and (backups.storage_checked_at is null or backups.storage_checked_at < $4)
        and not exists (
            select
            from drifts
            where drifts.backup_id = backups.id
                and drifts.kind in ('MISSING', 'MISMATCH')
                and drifts.detail <> 'MANIFEST'
                and drifts.found_in = $3
                and drifts.resolved_at is null
        )
    order by backups.id asc
    for update of backups
),

marked as (
    update backups
    set storage_status = 'PRESENT', storage_checked_at = now()
    from held
    where backups.id = held.id
    returning backups.id, backups.container_id, held.before
)

select
    (select max(page.object_name collate "C") from page) as last_name,
    (select count(*) from page) as size,
    (
        select array_agg(marked.id)
        from marked
        where marked.before = 'MISSING'
    ) as ids,
    (
        select array_agg(marked.container_id)
        from marked
        where marked.before = 'MISSING'
    ) as container_ids
limit 1;

-- name: resolve
-- What the walk did not see any more is over; where the listing came short ($4), only what B2 was asked for by id.
with over as (
    select id
    from drifts
    where integration_id = $1
        and found_in < $2
        and (not $4::boolean or found_in = 0)
        and shown_at is not null
        and resolved_at is null
        and adopt_at is null
    order by id asc
    limit $3
)

update drifts
set resolved_at = now(), resolution = 'GONE'
from over
where drifts.id = over.id
returning drifts.id;

-- name: unapplied
-- What the walk found and nothing follows from yet.
select id, kind, detail, name, file_id, backup_id, shown_at is null as is_new
from drifts
where integration_id = $1
    and found_in = $2
    and applied_in < $2
    and resolved_at is null
    and (kind in ('ORPHAN', 'UNFINISHED', 'FOREIGN') or witnessed_in = $2)
order by id asc
limit $3
for update;

-- name: record
-- What was seen of the objects of LIVE backups, unless they were looked at since the walk began.
with seen as (
    select told.id, told.file_id, told.status
    from unnest($1::uuid[], $2::text[], $3::text[]) as told (id, file_id, status)
),

held as (
    select backups.id, backups.storage_status as before
    from backups
    inner join seen on seen.id = backups.id and seen.file_id = backups.file_id
    where backups.state = 'LIVE' and backups.storage_status <> 'LOSS_ACCEPTED'
    order by backups.id asc
    for update of backups
)

update backups
set storage_status = seen.status, storage_checked_at = now()
from held
inner join seen on seen.id = held.id
where backups.id = held.id
returning backups.id, backups.container_id, backups.storage_status <> held.before as changed;

-- name: recorded
-- Which of these versions a record accounts for by now, or may come to.
select told.id
from unnest($2::uuid[], $3::text[], $4::text[]) as told (id, name, file_id)
inner join backups on backups.integration_id = $1 and backups.object_name collate "C" = told.name
where backups.state in ('QUEUED', 'SAVING')
    or (backups.state in ('LIVE', 'DELETING') and told.file_id in (backups.file_id, backups.manifest_file_id))
order by told.id
limit cardinality($2::uuid[]);

-- name: show
-- People see it from now on.
update drifts
set applied_in = $2, shown_at = coalesce(shown_at, now())
where id = any($1::uuid[]);

-- name: drop
-- What is none after all.
delete from drifts
where id = any($1::uuid[]);

-- name: prune
-- What was resolved long ago.
delete from drifts
where resolved_at < now() - $1::interval;

-- name: take_adoptions
-- Orphans that are to be made backups, each handed to one worker; a dead one's is due again after its lease.
with due as (
    select drifts.id
    from drifts
    where drifts.adopt_at <= now()
        and drifts.resolved_at is null
        and (drifts.adopt_lease_until is null or drifts.adopt_lease_until < clock_timestamp())
    order by drifts.adopt_at asc, drifts.id asc
    limit $1
    for update skip locked
)

update drifts
set adopt_epoch = drifts.adopt_epoch + 1, adopt_lease_until = clock_timestamp() + $2::interval, bytes_read = 0
from due
where drifts.id = due.id
returning drifts.id, drifts.hub_id, drifts.integration_id, drifts.name, drifts.file_id, drifts.size_bytes,
    drifts.uploaded_at, drifts.adopt_container_id, drifts.adopt_hostname, drifts.adopt_epoch;

-- name: renew_adoption
-- How far the reading is. No row: another worker has taken it.
update drifts
set bytes_read = $3, adopt_lease_until = clock_timestamp() + $4::interval
where id = $1 and adopt_epoch = $2 and adopt_at is not null and resolved_at is null
returning id;

-- name: fence_adoption
-- Whether an adoption is still its worker's; nobody else takes it meanwhile.
select true
from drifts
where id = $1 and adopt_epoch = $2 and adopt_at is not null and resolved_at is null
for update;

-- name: end_adoption
-- The orphan is a backup.
update drifts
set
    resolved_at = now(),
    resolution = 'ADOPTED',
    backup_id = $2,
    adopt_at = null,
    adopt_lease_until = null,
    error_code = null,
    error_message = null
where id = $1;

-- name: end_adoption_of_manifest
-- The manifest of an orphan that is a backup now.
update drifts
set resolved_at = now(), resolution = 'ADOPTED', backup_id = $4
where integration_id = $1 and kind = 'ORPHAN' and name = $2 and file_id = $3 and resolved_at is null;

-- name: fail_adoption
-- Why the orphan could not be made a backup; where $4 is given it is tried again after that time.
update drifts
set
    error_code = $3,
    error_message = $5,
    adopt_at = case when $4::interval is null then null else clock_timestamp() + $4 end,
    adopt_lease_until = null
where id = $1 and adopt_epoch = $2;
