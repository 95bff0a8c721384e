-- Why: what people are told of: an outbox of events, written in the transaction that made each of them true.
-- Locks: none that matter, everything is new. Old code: runs on it.

-- Subjects have no foreign keys: an event outlives what it is about.
create table events (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null references hubs (id) on delete cascade,
    -- A word of app/model/events.py; no check, so that a new one needs no migration.
    kind text not null check (kind <> ''),
    message text not null,
    container_id uuid,
    instance_id uuid,
    backup_id uuid,
    restore_id uuid,
    verification_id uuid,
    integration_id uuid,
    data jsonb not null default '{}',
    created_at timestamptz not null default now(),
    -- In the order in which events became visible: who has seen one has seen every lower one.
    number bigint
);
create index events_hub on events (hub_id, created_at desc, id desc);
create index events_hub_number on events (hub_id, number);
create index events_age on events (created_at);

create sequence events_number;

-- The number is given at the end of the transaction, under a lock that is kept until everybody sees the row. Nothing
-- else is locked after it, so nobody waits in a circle; and NOTIFY, which goes with every event, makes such commits
-- wait for each other anyway.
create function number_event() returns trigger language plpgsql set search_path = pg_catalog, public as $$
begin
    perform pg_advisory_xact_lock(4710, 3);
    update public.events set number = nextval('public.events_number') where id = new.id;
    return null;
end $$;

create constraint trigger events_number
after insert on events deferrable initially deferred
for each row execute function number_event();

alter table events enable row level security;
create policy hub on events to "{gateway}" using (hub_id = current_hub()) with check (hub_id = current_hub());
create policy every_hub on events to "{worker}" using (true) with check (true);
grant select, insert, update, delete on events to "{worker}";
grant select, insert, update on events to "{gateway}";
grant usage on sequence events_number to "{gateway}", "{worker}";
