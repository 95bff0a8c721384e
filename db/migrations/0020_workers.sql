-- Why: whoever waits is told whether any worker reaches the place where it waits.
-- Locks: none; a new table. Old code: does not notice, and is not seen.

create table workers (
    owner text primary key,
    places text[] not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);
grant select, insert, update, delete on workers to "{worker}";
grant select (places, seen_at) on workers to "{gateway}";
