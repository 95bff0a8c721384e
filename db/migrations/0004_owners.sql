-- Why: who may delete by itself in an integration's bucket: the database whose mark the owner object there carries.
-- Locks: none that matter; one new table, and one row for each integration that was ever seen to work.
-- Old code: runs on it; it deletes without asking, as it did before.

create table integration_owners (
    integration_id uuid primary key,
    hub_id uuid not null,
    -- What the bucket holds of ours; 0: we never held the place.
    generation bigint not null default 0,
    -- The marks that we wrote lately, each known here before it is in the bucket; the newest is the last one.
    marks uuid[] not null default '{}',
    -- Which database that was: a copy of it on another server, or beside it, finds that it is another one.
    place text,
    -- One worker at a time reads and advances.
    turn_of uuid,
    turn_until timestamptz,
    -- When it is read by itself the next time.
    check_at timestamptz not null default now(),
    advanced_at timestamptz,
    -- Not read again before that time while it is not ours.
    asked_until timestamptz,
    -- Set while this database is not the owner: nothing is deleted by itself meanwhile.
    stopped_at timestamptz,
    stopped_because text,
    -- The operator's claim, for the database in which it was made.
    claimed_in text,
    foreign key (integration_id, hub_id) references integrations (id, hub_id)
);
create index integration_owners_due on integration_owners (check_at);

-- Which database this is. A dump that was restored elsewhere, or a copy beside this one, gives something else.
create function this_place() returns text language sql stable parallel safe
return (
    select pg_control_system.system_identifier::text || '/' || pg_database.oid::text
    from pg_control_system() cross join pg_database
    where pg_database.datname = current_database()
);

insert into integration_owners (integration_id, hub_id)
select id, hub_id from integrations where verified_at is not null and state in ('VERIFYING', 'LIVE', 'FAILED');

alter table integration_owners enable row level security;
create policy hub on integration_owners to "{gateway}"
using (hub_id = current_hub()) with check (hub_id = current_hub());
create policy every_hub on integration_owners to "{worker}" using (true) with check (true);
grant select, insert, update, delete on integration_owners to "{worker}";
grant select, insert, update on integration_owners to "{gateway}";
