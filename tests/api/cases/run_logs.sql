-- logs.tail
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

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
