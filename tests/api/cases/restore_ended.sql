-- logs.earliest_by_run
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

-- restores.by_ids
select
    restores.id,
    restores.hub_id,
    restores.container_id,
    restores.instance_id,
    restores.backup_id,
    restores.safety_backup_id,
    restores.check_command,
    restores.state,
    restores.trigger,
    restores.phase,
    restores.bytes_total,
    restores.created_at,
    runs.bytes_delivered,
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
from restores
join runs on runs.id = restores.id
where restores.hub_id = $1 and restores.id = any($2::uuid[]);

-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);
