-- Cross hubs: what the operator's monitoring sees, summed over all hubs and without any name of one.

-- name: open_runs
-- Runs that have not ended, by what they are and whether a worker has them.
select kind, owner is not null as is_running, count(*) as runs, min(created_at) as oldest
from runs
where finished_at is null
group by kind, owner is not null
order by kind asc, is_running asc
limit 100;

-- name: ended_runs
-- Runs that ended within the last hour, and how.
select
    kind,
    case
        when error_code is not null then 'failed'
        when cancel then 'canceled'
        else 'succeeded'
    end as outcome,
    count(*) as runs
from runs
where finished_at > now() - interval '1 hour'
group by kind, outcome
order by kind asc, outcome asc
limit 100;

-- name: last_success
-- When a run of a kind last ended well; no row where none did for a week.
select finished_at
from runs
where finished_at > now() - interval '7 days' and kind = $1 and error_code is null and not cancel
order by finished_at desc
limit 1;

-- name: waiting_work
-- What waits in the queue, to be removed from B2, and to be sent to webhooks: how much, since when.
select 'queue' as work, count(*) as waiting, min(created) as oldest
from pgqueuer
where status = 'queued'
union all
select 'reclaims', count(*), min(created_at)
from reclaims
where settled_at is null and confirmed_at is null
union all
select 'webhooks', count(*), min(created_at)
from webhook_deliveries
order by work asc
limit 10;

-- name: overdue
-- Containers that make backups by themselves, and those of which one is awaited for too long.
-- That nobody carried out a due time is no reason to believe that nothing was due.
select count(*) as waiting, min(late.since) as oldest, (select count(*) from schedules) as scheduled
from schedules
inner join backup_policies on backup_policies.container_id = schedules.container_id
cross join lateral (
    select least(
        schedules.expected_by,
        schedules.next_at + greatest(backup_policies.overdue_after, 2 * schedules.last_duration)
    ) as since
) as late
where late.since <= now()
    and (
        -- Each by an index of its own.
        (schedules.expected_by <= now() and schedules.overdue_told_at is not null)
        or (schedules.expected_by <= now() and schedules.overdue_told_at is null)
        or schedules.next_at <= now()
    );

-- name: drifts
-- Where buckets and records disagree now, as people see it.
select kind, count(*) as drifts
from drifts
where shown_at is not null and resolved_at is null
group by kind
order by kind asc
limit 100;

-- name: integrations
-- Connections to B2 by their state; one that works and was not reached for long is UNREACHABLE.
select case when state = 'LIVE' and unreachable_told then 'UNREACHABLE' else state end as state, count(*) as integrations
from integrations
where state not in ('DELETING', 'DELETED')
group by 1
order by 1 asc
limit 100;

-- name: events
-- What people were told of within the last day.
select kind, count(*) as events
from events
where created_at > now() - interval '1 day'
group by kind
order by kind asc
limit 100;
