-- Why: containers and instances that workers found by labels on an engine, and where each value comes from.
-- Locks: containers, instances, backup_policies and engines for an instant each: constant defaults rewrite nothing,
-- the new foreign key is not read. Old code: runs on it; it finds nothing and takes all values for the API's.

alter table containers
add column found_engine_id uuid,
-- Of Compose; both null for a container without it.
add column found_project text,
add column found_service text,
-- Whether a value is of the API, of a label or the default; empty: all are of the API.
add column sources jsonb not null default '{}';
alter table containers
add constraint containers_found_engine_fkey
foreign key (found_engine_id, hub_id) references engines (id, hub_id) not valid;

alter table instances
-- Which replica of its service; null for one that was made through the API.
add column replica bigint,
add column sources jsonb not null default '{}';

alter table backup_policies add column sources jsonb not null default '{}';

alter table engines
-- What is wrong with labels there.
add column problems jsonb not null default '[]',
-- How often the engine said that something changed.
add column changes bigint not null default 0,
-- The worker that reads its events, and until when unless it says so again.
add column watched_by text,
add column watched_until timestamptz;
