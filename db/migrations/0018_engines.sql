-- Why: container engines, and instances that are containers there.
-- Locks: `instances` for an instant; its new columns are null, so nothing is read. Old code: runs on it; it makes no such instances.

create table engines (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null references hubs (id),
    name text not null,
    address text not null,
    -- The worker's host for an address that means another engine on every host; null: any worker's.
    host text,
    authority text,
    certificate text,
    sealed_key bytea,
    state text not null check (state in ('VERIFYING', 'LIVE', 'UNREACHABLE', 'DELETING', 'DELETED')),
    version text,
    error_code text,
    error_message text,
    unreachable_since timestamptz,
    check_at timestamptz not null default now(),
    checked_at timestamptz,
    created_at timestamptz not null default now(),
    unique (id, hub_id)
);
create index engines_hub on engines (hub_id, created_at desc, id desc);
create index engines_due on engines (check_at) where state in ('VERIFYING', 'LIVE', 'UNREACHABLE');

alter table instances
add column engine_id uuid,
add column engine_container text,
add column command_user text;
alter table instances
add constraint instances_engine_fkey foreign key (engine_id, hub_id) references engines (id, hub_id) not valid;

alter table engines enable row level security;
create policy hub on engines to "{gateway}" using (hub_id = current_hub()) with check (hub_id = current_hub());
create policy every_hub on engines to "{worker}" using (true) with check (true);
grant select, insert, update, delete on engines to "{worker}";
grant select, insert, update, delete on engines to "{gateway}";
