-- Why: the truth of the bucket: walks over it that survive their worker, and where it and the records disagree.
-- Locks: none that matter; two new tables, and one row for each integration. Old code: runs on it; it walks nowhere.

-- One walk over an integration's bucket: a comparison with the records, or the rebuilding of records from manifests.
create table scans (
    integration_id uuid not null,
    hub_id uuid not null,
    kind text not null check (kind in ('RECONCILE', 'RECOVER')),
    -- How often it was begun; what one of these times found bears its number.
    number bigint not null default 0,
    -- What it does now; null: it is not under way.
    phase text check (
        phase in ('LISTING', 'WITNESSING', 'DISCARDING', 'MARKING', 'RESOLVING', 'SHOWING', 'LOOKING', 'READING')
    ),
    -- When it is begun or gone on with; null: only when it is asked for.
    due_at timestamptz,
    -- Somebody has said that a listing which misses many objects is right.
    believed boolean not null default false,
    -- Before anything was listed; what is younger is left out.
    started_at timestamptz,
    -- Everything before this name was looked at.
    cursor text,
    counts jsonb not null default '{}',
    -- The last time that it came to its end.
    finished_at timestamptz,
    last_counts jsonb,
    error_code text,
    error_message text,
    -- Of a recovery: the hub whose backups these were, before the database was lost.
    former_hub_id uuid,
    -- Who works on it; a higher epoch fences the former one.
    epoch bigint not null default 0,
    lease_until timestamptz,
    primary key (integration_id, kind),
    foreign key (integration_id, hub_id) references integrations (id, hub_id)
);
create index scans_due on scans (due_at) where due_at is not null;

insert into scans (integration_id, hub_id, kind, due_at)
select id, hub_id, 'RECONCILE', now() + interval '1 hour' from integrations where state <> 'DELETED';

-- Bucket and records disagree about one version of one object. No reference to a backup: it outlives that.
create table drifts (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null references hubs (id),
    integration_id uuid not null,
    kind text not null check (kind in ('MISSING', 'MISMATCH', 'ORPHAN', 'UNFINISHED', 'FOREIGN')),
    -- What exactly: the object or its manifest, or what differs.
    detail text not null check (detail in ('OBJECT', 'MANIFEST', 'SIZE', 'VERSION', 'UPLOAD', 'MARKER')),
    name text not null,
    -- The version in the bucket; of MISSING and MISMATCH the one that the record names.
    file_id text not null,
    size_bytes bigint,
    uploaded_at timestamptz,
    backup_id uuid,
    -- The number of the walk that saw it last, asked B2 for it by its id, and wrote down what follows.
    found_in bigint not null,
    witnessed_in bigint not null default 0,
    applied_in bigint not null default 0,
    -- Those of one walk in the order in which it found them.
    created_at timestamptz not null default clock_timestamp(),
    -- A walk that was believed has shown it; null: not yet.
    shown_at timestamptz,
    resolved_at timestamptz,
    resolution text check (resolution in ('GONE', 'ADOPTED', 'RECLAIMED', 'LOSS_ACCEPTED')),
    -- An orphan that somebody wants to be a backup: where it belongs, and how far its reading is.
    adopt_at timestamptz,
    adopt_container_id uuid,
    adopt_hostname text,
    adopt_epoch bigint not null default 0,
    adopt_lease_until timestamptz,
    bytes_read bigint not null default 0,
    error_code text,
    error_message text,
    foreign key (integration_id, hub_id) references integrations (id, hub_id)
);
create unique index drifts_open on drifts (integration_id, kind, file_id) where resolved_at is null;
create index drifts_found on drifts (integration_id, found_in) where resolved_at is null;
create index drifts_shown on drifts (hub_id, created_at desc, id desc)
where shown_at is not null and resolved_at is null;
create index drifts_backup on drifts (backup_id) where backup_id is not null and resolved_at is null;
create index drifts_adopt on drifts (adopt_at) where adopt_at is not null and resolved_at is null;
create index drifts_resolved on drifts (resolved_at) where resolved_at is not null;

do $$
declare tenant text;
begin
    foreach tenant in array array['scans', 'drifts'] loop
        execute format('alter table %I enable row level security', tenant);
        execute format(
            'create policy hub on %I to "{gateway}" using (hub_id = current_hub()) with check (hub_id = current_hub())',
            tenant
        );
        execute format('create policy every_hub on %I to "{worker}" using (true) with check (true)', tenant);
        execute format('grant select, insert, update, delete on %I to "{worker}"', tenant);
        execute format('grant select, insert, update on %I to "{gateway}"', tenant);
    end loop;
end $$;
