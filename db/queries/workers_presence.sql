-- Cross hubs: workers serve every hub.

-- name: show
-- A worker is there, and reaches these places.
insert into workers (owner, places)
values ($1, $2)
on conflict (owner) do update set places = excluded.places, seen_at = now();

-- name: prune
-- Those that nobody has seen for long.
delete from workers
where seen_at < now() - $1::interval;
