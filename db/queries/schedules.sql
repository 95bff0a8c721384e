-- name: by_containers
-- When backups of several containers are due next, and since when one is overdue.
-- That nobody carried out a due time is no reason to believe that nothing was due.
select
    schedules.container_id,
    schedules.due_at,
    schedules.next_at,
    case when late.since <= now() then late.since end as overdue_since
from schedules
inner join backup_policies on backup_policies.container_id = schedules.container_id
cross join lateral (
    select least(
        schedules.expected_by,
        schedules.next_at + greatest(backup_policies.overdue_after, 2 * schedules.last_duration)
    ) as since
) as late
where schedules.hub_id = $1 and schedules.container_id = any ($2::uuid[])
order by schedules.container_id
limit cardinality($2::uuid[]);

-- name: put
-- Due from now on by another expression; what is overdue stays so until a backup comes, and what was
-- missed and nobody has seen to is caught up first.
insert into schedules (hub_id, container_id, due_at, next_at)
values ($1, $2, $3, $4)
on conflict (container_id) do update
set
    due_at = case when schedules.next_at <= now() then schedules.due_at else excluded.due_at end,
    next_at = case when schedules.next_at <= now() then schedules.next_at else excluded.next_at end;

-- name: remove
-- Nothing is due any more in these containers.
delete from schedules
where hub_id = $1 and container_id = any ($2::uuid[]);

-- name: lock
-- The schedule of a container, for the end of a run that may answer it.
select container_id
from schedules
where hub_id = $1 and container_id = $2
for no key update;

-- name: answer
-- A backup is LIVE: it answers what was due until it was asked for, where every instance that the
-- policy means and that was there has one; what was due since is waited for on its own.
with facts as (
    select
        schedules.container_id,
        schedules.unanswered_at <= $3::timestamptz and not (
            backup_policies.instances = 'EACH' and exists (
                select
                from instances
                where instances.hub_id = $1
                    and instances.container_id = $2
                    and instances.removed_at is null
                    and not instances.scratch
                    and instances.state in ('RUNNING', 'UNREACHABLE')
                    and instances.created_at <= schedules.unanswered_at
                    and not exists (
                        select
                        from backups
                        where backups.hub_id = $1
                            and backups.container_id = $2
                            and backups.instance_hostname = instances.hostname
                            and backups.state = 'LIVE'
                            and backups.created_at >= schedules.unanswered_at
                            and backups.trigger <> 'PRE_RESTORE'
                    )
            )
        ) as is_answered,
        schedules.last_at > $3::timestamptz as is_due_again,
        schedules.last_at + greatest(backup_policies.overdue_after, 2 * (now() - $4::timestamptz)) as expected_by
    from schedules
    inner join backup_policies on backup_policies.container_id = schedules.container_id
    where schedules.hub_id = $1 and schedules.container_id = $2
)

update schedules
set
    last_duration = now() - $4,
    unanswered_at = case
        when not facts.is_answered then schedules.unanswered_at
        when facts.is_due_again then schedules.last_at
    end,
    expected_by = case
        when not facts.is_answered then schedules.expected_by
        when facts.is_due_again then facts.expected_by
    end,
    overdue_told_at = case when not facts.is_answered then schedules.overdue_told_at end
from facts
where schedules.hub_id = $1 and schedules.container_id = facts.container_id;
