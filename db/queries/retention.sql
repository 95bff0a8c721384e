-- name: candidates
-- The LIVE backups of some containers, with all that decides whether one may go, and the time.
with being_read as (
    select unnest(array[restores.backup_id, restores.safety_backup_id]) as backup_id
    from runs
    inner join restores on restores.id = runs.id
    where runs.hub_id = $1 and runs.finished_at is null
    union all
    select verifications.backup_id
    from runs
    inner join verifications on verifications.id = runs.id
    where runs.hub_id = $1 and runs.finished_at is null
)

select
    backups.id,
    backups.container_id,
    backups.instance_hostname,
    backups.trigger,
    backups.created_at,
    coalesce(runs.finished_at, backups.created_at) as live_at,
    backups.pinned,
    backups.storage_status,
    coalesce(
        (
            select verifications.state = 'FAILED'
            from verifications
            inner join runs as tried on tried.id = verifications.id
            where verifications.hub_id = $1
                and verifications.backup_id = backups.id
                and verifications.state in ('PASSED', 'FAILED')
                -- What was only in the way says nothing of the backup.
                and (verifications.state = 'PASSED' or tried.error_code = any($3::text[]))
            order by verifications.created_at desc, verifications.id desc
            limit 1
        ),
        false
    ) as verification_failed,
    exists (
        select
        from instance_doubts
        where instance_doubts.hub_id = $1
            and instance_doubts.container_id = backups.container_id
            and instance_doubts.hostname = backups.instance_hostname
            and instance_doubts.since <= coalesce(runs.started_at, backups.created_at)
            and coalesce(instance_doubts.ended_at > coalesce(runs.started_at, backups.created_at), true)
    ) as in_doubt,
    backups.id in (select being_read.backup_id from being_read) as is_read,
    now() as now
from backups
-- One by one, by their ids, however many runs the planner believes there are.
cross join lateral (
    select of_one.started_at, of_one.finished_at
    from runs as of_one
    where of_one.id = backups.id
    limit 1
) as runs
where backups.hub_id = $1 and backups.container_id = any($2::uuid[]) and backups.state = 'LIVE'
order by backups.created_at desc, backups.id desc;

-- name: buckets
-- In whose buckets some backups are.
select id, integration_id
from backups
where hub_id = $1 and id = any($2::uuid[]);

-- name: look_again
-- When the container's backups are looked at next: within about a day.
update backup_policies
set retention_at = least($3::timestamptz, now() + interval '1 day' * (0.9 + random() / 5))
where hub_id = $1 and container_id = $2;
