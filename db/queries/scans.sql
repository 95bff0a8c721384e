-- name: by_integrations
-- The walks over the buckets of these integrations.
select
    integration_id, kind, phase, coalesce(due_at <= clock_timestamp(), false) as is_due, started_at, finished_at,
    counts, last_counts, error_code, error_message
from scans
where hub_id = $1 and integration_id = any($2::uuid[]);

-- name: add
-- A new integration is reconciled for the first time in a day.
insert into scans (hub_id, integration_id, kind, due_at)
values ($1, $2, 'RECONCILE', now() + interval '1 day')
on conflict (integration_id, kind) do nothing;

-- name: request
-- To be begun at once; one that is under way goes on. What was wrong with the last one counts no more.
insert into scans (hub_id, integration_id, kind, due_at, believed, former_hub_id)
values ($1, $2, $3, clock_timestamp(), $4, $5)
on conflict (integration_id, kind) do update
set
    due_at = least(scans.due_at, excluded.due_at),
    believed = excluded.believed or (scans.believed and scans.phase is not null),
    former_hub_id = coalesce(excluded.former_hub_id, scans.former_hub_id),
    error_code = null,
    error_message = null
where scans.hub_id = $1;
