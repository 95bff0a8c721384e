-- Why: verifications, which prove backups; a lease for a run that needs no instance; a restore's safety backup, check.
-- Locks: leases, runs, restores and backup_policies for moments: constant defaults, indexes on small tables only.
-- Old code: runs on it; it claims no verification, and puts no safety backup into a restore.

-- One attempt to prove a backup. Its id is its run's, and where it restores also its restore's.
create table verifications (
    id uuid primary key,
    hub_id uuid not null references hubs (id),
    container_id uuid not null,
    -- Null where none is needed: the object's bytes are read and compared, no command runs.
    instance_id uuid,
    backup_id uuid not null,
    level text not null check (level in ('STORED', 'READABLE', 'RESTORABLE')),
    state text not null check (state in ('QUEUED', 'RUNNING', 'PASSED', 'FAILED', 'CANCELED')),
    bytes_total bigint not null,
    created_at timestamptz not null default now(),
    check ((level = 'STORED') = (instance_id is null)),
    foreign key (container_id, hub_id) references containers (id, hub_id),
    foreign key (backup_id, hub_id) references backups (id, hub_id)
);
create index verifications_backup on verifications (hub_id, backup_id, created_at desc, id desc);

alter table verifications enable row level security;
create policy hub on verifications to "{gateway}"
using (hub_id = current_hub()) with check (hub_id = current_hub());
create policy every_hub on verifications to "{worker}" using (true) with check (true);
grant select, insert, update, delete on verifications to "{worker}";
grant select, insert, update on verifications to "{gateway}";

-- A lease is an instance's, or, where its run needs no instance, that run's own. A run holds one at most.
-- One row an instance: built in a moment. No program counts on there being no other leases.
-- squawk-ignore constraint-missing-not-valid, disallowed-unique-constraint
alter table leases add constraint leases_instance_id_key unique (instance_id);
-- squawk-ignore ban-drop-constraint
alter table leases drop constraint leases_pkey;
-- squawk-ignore ban-drop-not-null
alter table leases alter column instance_id drop not null;
-- squawk-ignore require-concurrent-index-creation
create unique index leases_run on leases (run_id);

-- A run that is carried out under another one's lease: the save before a restore. It has no instance of its own.
alter table runs add column carried_by uuid;

alter table restores add column safety_backup_id uuid;
alter table restores add column check_command text;

-- When a worker looks next whether something is to be verified as the policy says.
alter table backup_policies add column verify_at timestamptz not null default now();
-- One row a container: built in a moment.
-- squawk-ignore require-concurrent-index-creation
create index backup_policies_verify_at on backup_policies (verify_at) where verification_level is not null;
