-- Cross hubs: workers look at every hub's engines, as far as they reach them.

-- name: take_due
-- Engines to look at, which this worker reaches; one that dies over it leaves it to others a minute later.
with due as (
    select id
    from engines
    where check_at <= now()
        and state in ('VERIFYING', 'LIVE', 'UNREACHABLE')
        and (host is null or 'host:' || host = any ($2::text[]))
    order by check_at asc, id asc
    limit $1
    for update skip locked
)

update engines
set check_at = clock_timestamp() + interval '1 minute'
where id in (select due.id from due)
returning id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems, sealed_key, changes;

-- name: access
-- One engine with its sealed key.
select id, hub_id, name, address, host, authority, certificate, state, version, error_code, error_message,
    unreachable_since, checked_at, created_at, problems, sealed_key, changes
from engines
where id = $1 and state in ('VERIFYING', 'LIVE', 'UNREACHABLE');

-- name: leave
-- The engine is somebody else's to look at, who reached it lately.
update engines
set check_at = now() + $2::interval
where id = $1 and state = 'LIVE' and checked_at > now() - $3::interval
returning id;

-- name: answered
-- The engine works.
update engines
set
    state = 'LIVE',
    version = $2,
    error_code = null,
    error_message = null,
    unreachable_since = null,
    checked_at = now(),
    problems = $5,
    -- What changed during the look may have been missed.
    check_at = case when changes = $4 then now() + $3::interval else now() end
where id = $1 and state in ('VERIFYING', 'LIVE', 'UNREACHABLE');

-- name: failed
-- The engine does not work; since when is kept.
update engines
set
    state = 'UNREACHABLE',
    error_code = $2,
    error_message = $3,
    unreachable_since = coalesce(unreachable_since, now()),
    checked_at = now(),
    check_at = case when changes = $5 then now() + $4::interval else now() end
where id = $1 and state in ('VERIFYING', 'LIVE', 'UNREACHABLE');

-- name: instances
-- The instances that were made through the API as containers of an engine.
select id, engine_container, state
from instances
where engine_id = $1 and replica is null and removed_at is null and state in ('RUNNING', 'PAUSED', 'STOPPED', 'GONE')
order by id asc
limit $2;

-- name: see_instance
-- What an engine says of an instance.
update instances
set state = $2
where id = $1 and removed_at is null and state in ('RUNNING', 'PAUSED', 'STOPPED', 'GONE') and state <> $2;

-- name: take_watches
-- Engines whose events this worker reads from now on, or goes on to read.
with free as (
    select id
    from engines
    where state in ('VERIFYING', 'LIVE', 'UNREACHABLE')
        and (host is null or 'host:' || host = any ($2::text[]))
        and (watched_until is null or watched_until < now() or watched_by = $1)
        and id <> all ($5::uuid[])
    order by id asc
    limit $3
    for update skip locked
)

update engines
set watched_by = $1, watched_until = now() + $4::interval
where id in (select free.id from free)
returning id, hub_id;

-- name: give_back_watches
-- The worker reads no events of these any more; null: of none at all.
update engines
set watched_by = null, watched_until = null
where watched_by = $1 and ($2::uuid[] is null or id = any ($2));

-- name: changed
-- The engine said that something changed there.
update engines
set changes = changes + 1, check_at = now()
where id = $1 and state in ('VERIFYING', 'LIVE', 'UNREACHABLE');
