-- Why: webhooks: addresses that events are sent to, and an outbox of what is still to be sent.
-- Locks: none that matter, everything is new. Old code: runs on it; it queues nothing.

create table webhooks (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null references hubs (id) on delete cascade,
    url text not null,
    -- Null: every kind, those that come later too.
    kinds text[],
    enabled boolean not null default true,
    sealed_secret bytea not null,
    -- While a secret is being replaced, messages are signed by both.
    former_sealed_secret bytea,
    former_until timestamptz,
    last_delivered_at timestamptz,
    failing_since timestamptz,
    last_error text,
    created_at timestamptz not null default now(),
    unique (id, hub_id)
);
create index webhooks_hub on webhooks (hub_id, created_at desc, id desc);

-- No foreign key to the event: those are pruned by themselves.
create table webhook_deliveries (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null,
    webhook_id uuid not null,
    event_id uuid not null,
    attempts bigint not null default 0,
    not_before timestamptz not null default now(),
    created_at timestamptz not null default now(),
    foreign key (webhook_id, hub_id) references webhooks (id, hub_id) on delete cascade
);
create index webhook_deliveries_due on webhook_deliveries (not_before);
create index webhook_deliveries_webhook on webhook_deliveries (webhook_id, not_before);

do $$
declare tenant text;
begin
    foreach tenant in array array['webhooks', 'webhook_deliveries'] loop
        execute format('alter table %I enable row level security', tenant);
        execute format(
            'create policy hub on %I to "{gateway}" using (hub_id = current_hub()) with check (hub_id = current_hub())',
            tenant
        );
        execute format('create policy every_hub on %I to "{worker}" using (true) with check (true)', tenant);
        execute format('grant select, insert, update, delete on %I to "{worker}"', tenant);
        execute format('grant select, insert, update, delete on %I to "{gateway}"', tenant);
    end loop;
end $$;
