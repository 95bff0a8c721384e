-- name: earliest_by_run
-- A page of each run's log between two sequences, from its beginning.
select parents.id as run_id, page.sequence, page.at, page.stream, page.bytes
from unnest($2::uuid[]) as parents (id)
cross join lateral (
    select run_logs.sequence, run_logs.at, run_logs.stream, run_logs.bytes
    from run_logs
    where run_logs.hub_id = $1
        and run_logs.run_id = parents.id
        and run_logs.sequence > $3
        and run_logs.sequence < $4
    order by run_logs.sequence
    limit $5
) as page
order by parents.id, page.sequence;

-- name: latest_by_run
-- A page of each run's log between two sequences, from its end.
select parents.id as run_id, page.sequence, page.at, page.stream, page.bytes
from unnest($2::uuid[]) as parents (id)
cross join lateral (
    select run_logs.sequence, run_logs.at, run_logs.stream, run_logs.bytes
    from run_logs
    where run_logs.hub_id = $1
        and run_logs.run_id = parents.id
        and run_logs.sequence > $3
        and run_logs.sequence < $4
    order by run_logs.sequence desc
    limit $5
) as page
order by parents.id, page.sequence desc;

-- name: count_by_run
-- How many entries each run's log has; a run without any has no row.
select run_id, count(*) as entries
from run_logs
where hub_id = $1 and run_id = any($2::uuid[])
group by run_id;

-- name: tail
-- A run and what its log holds behind a sequence, from one moment; one row at least where it is.
select
    runs.kind,
    runs.finished_at is not null as is_ended,
    runs.started_epoch,
    runs.log_bytes,
    runs.log_truncated,
    page.sequence,
    page.at,
    page.stream,
    page.bytes
from runs
left join lateral (
    select run_logs.sequence, run_logs.at, run_logs.stream, run_logs.bytes
    from run_logs
    where run_logs.hub_id = $1
        and run_logs.run_id = runs.id
        and run_logs.sequence > $3
    order by run_logs.sequence
    limit $4
) as page on true
where runs.hub_id = $1 and runs.id = $2
order by page.sequence;
