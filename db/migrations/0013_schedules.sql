-- Why: when backups are due, and whether they came: one row for each policy that makes backups by itself.
-- Locks: backup_policies and backups exclusively but briefly (a check of a small table, a constant default).
-- Old code: runs on it; policies that it sets get their schedule when they are set again.

alter table backup_policies validate constraint backup_policies_instances_check;
alter table backup_policies validate constraint backup_policies_verification_level_check;

alter table backups add column size_dropped boolean not null default false;

create table schedules (
    container_id uuid primary key,
    hub_id uuid not null,
    -- When it is due next by its cron expression, and when that is carried out: a little later, by its jitter.
    due_at timestamptz not null,
    next_at timestamptz not null,
    -- The time that was carried out last, whatever came of it.
    last_at timestamptz,
    -- The earliest time that no LIVE backup has answered yet, and until when one is waited for.
    unanswered_at timestamptz,
    expected_by timestamptz,
    -- People were told that it is overdue: once, until it is answered.
    overdue_told_at timestamptz,
    -- What the last backup took from its start until it was LIVE.
    last_duration interval,
    foreign key (container_id, hub_id) references containers (id, hub_id)
);
create index schedules_due on schedules (next_at, container_id);
create index schedules_expected on schedules (expected_by) where overdue_told_at is null;

alter table schedules enable row level security;
create policy hub on schedules to "{gateway}" using (hub_id = current_hub()) with check (hub_id = current_hub());
create policy every_hub on schedules to "{worker}" using (true) with check (true);
grant select, insert, update, delete on schedules to "{gateway}", "{worker}";
