-- Why: retention removes backups by a rule that explains itself, and never takes an instance's last good one.
-- Locks: short ones on backups, reclaims and backup_policies; columns without a value, or with a constant one.
-- Old code: runs on it; what it removes carries no reason.

-- When a policy's container is looked at next; policies that are there already have a day to be looked at by people.
alter table backup_policies add column retention_at timestamptz not null default now() + interval '1 day';
-- One row a container: built in a moment.
-- squawk-ignore require-concurrent-index-creation
create index backup_policies_retention on backup_policies (retention_at);

-- Why retention took it, in the words of then; null where somebody else did, or nobody.
alter table backups add column retention_code text;
alter table backups add column retention_reason text;
-- Who deleted it; null where it goes with its container.
alter table backups add column deletion_requested_by_kind text;
alter table backups add column deletion_requested_by_id uuid;
alter table backups add column deletion_requested_by_name text;

-- Made by the gateway's own rule, not because somebody asked for exactly this.
alter table reclaims add column automatic boolean not null default false;

-- A restore into an instance failed: what is saved of it from then on is not good, until it was made well.
-- 'Of an instance' goes by container and hostname, also after the instance is gone.
create table instance_doubts (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null references hubs (id),
    container_id uuid not null,
    hostname text not null,
    since timestamptz not null default now(),
    ended_at timestamptz,
    foreign key (container_id, hub_id) references containers (id, hub_id) on delete cascade
);
create index instance_doubts_instance on instance_doubts (hub_id, container_id, hostname);

alter table instance_doubts enable row level security;
create policy hub on instance_doubts to "{gateway}" using (hub_id = current_hub()) with check (hub_id = current_hub());
create policy every_hub on instance_doubts to "{worker}" using (true) with check (true);
grant select, insert, update, delete on instance_doubts to "{worker}";
grant select, insert, update on instance_doubts to "{gateway}";
