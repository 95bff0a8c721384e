-- name: by_ids
-- The verifications of these ids, with what their runs say of them.
select
    verifications.id,
    verifications.hub_id,
    verifications.container_id,
    verifications.instance_id,
    verifications.backup_id,
    verifications.level,
    verifications.state,
    verifications.bytes_total,
    verifications.created_at,
    greatest(runs.bytes_read, runs.bytes_delivered) as bytes_checked,
    runs.bytes_per_second,
    runs.progress_at,
    runs.started_at,
    runs.finished_at,
    runs.exit_code,
    runs.error_code,
    runs.error_message,
    runs.log_bytes,
    runs.log_truncated,
    runs.requested_by_kind,
    runs.requested_by_id,
    runs.requested_by_name
from verifications
join runs on runs.id = verifications.id
where verifications.hub_id = $1 and verifications.id = any($2::uuid[]);

-- name: last_ids
-- The newest verification of each of these backups; one without any has no row.
select parents.id as parent_id, newest.id
from unnest($2::uuid[]) as parents (id)
cross join lateral (
    select verifications.id
    from verifications
    where verifications.hub_id = $1 and verifications.backup_id = parents.id
    order by verifications.created_at desc, verifications.id desc
    limit 1
) as newest;

-- name: newest_ids_by_backup
-- A page of each backup's verifications between two places, newest first.
select parents.id as parent_id, page.id
from unnest($9::uuid[]) as parents (id)
cross join lateral (
    select verifications.id, verifications.created_at
    from verifications
    where verifications.hub_id = $1
        and (verifications.created_at, verifications.id) > ($2::timestamptz, $3::uuid)
        and (verifications.created_at, verifications.id) < ($4::timestamptz, $5::uuid)
        and verifications.level = any($6::text[])
        and verifications.state = any($7::text[])
        and verifications.backup_id = parents.id
    order by verifications.created_at desc, verifications.id desc
    limit $8
) as page
order by parents.id, page.created_at desc, page.id desc;

-- name: oldest_ids_by_backup
-- A page of each backup's verifications between two places, oldest first.
select parents.id as parent_id, page.id
from unnest($9::uuid[]) as parents (id)
cross join lateral (
    select verifications.id, verifications.created_at
    from verifications
    where verifications.hub_id = $1
        and (verifications.created_at, verifications.id) > ($2::timestamptz, $3::uuid)
        and (verifications.created_at, verifications.id) < ($4::timestamptz, $5::uuid)
        and verifications.level = any($6::text[])
        and verifications.state = any($7::text[])
        and verifications.backup_id = parents.id
    order by verifications.created_at, verifications.id
    limit $8
) as page
order by parents.id, page.created_at, page.id;

-- name: count_by_backup
-- How many verifications of each backup a filter lets through; one without any has no row.
select backup_id as parent_id, count(*) as verifications
from verifications
where hub_id = $1
    and level = any($2::text[])
    and state = any($3::text[])
    and backup_id = any($4::uuid[])
group by backup_id;
