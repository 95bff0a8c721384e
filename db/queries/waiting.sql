-- name: states
-- What keeps runs waiting that no worker has yet: who reaches their places, and their engines.
select runs.id, runs.place, engines.name as engine_name, engines.state as engine_state,
    engines.error_message, engines.unreachable_since, now() as now,
    (select max(workers.seen_at) from workers where runs.place = any(workers.places)) as seen_at
from runs
left join instances on instances.hub_id = runs.hub_id and instances.id = runs.instance_id
left join engines on engines.hub_id = instances.hub_id and engines.id = instances.engine_id
where runs.hub_id = $1 and runs.id = any($2::uuid[]) and runs.finished_at is null and runs.owner is null
    and runs.carried_by is null;
