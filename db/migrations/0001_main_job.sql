-- Why: the main job: hubs, keys, containers, instances, policies, integrations, runs, backups, restores, reclaims.
-- Locks: none that matter, everything is new. Old code: there is none.
-- References name the hub as well: checks of foreign keys do not see policies, and a row must not point into another hub.
-- `"{gateway}"` and `"{worker}"` stand for the two role names that the migration runner was given.

create table installation (
    only_row boolean primary key default true check (only_row),
    id uuid not null default gen_random_uuid(),
    created_at timestamptz not null default now()
);
insert into installation default values;

create table hubs (
    id uuid primary key default gen_random_uuid(),
    name text not null unique check (name <> ''),
    created_at timestamptz not null default now()
);

create table api_keys (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null references hubs (id),
    name text not null,
    prefix text not null,
    hash bytea not null unique,
    role text check (role in ('VIEWER', 'OPERATOR', 'ADMIN')),
    capabilities text[],
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    check ((role is null) <> (capabilities is null))
);
create index api_keys_hub on api_keys (hub_id, created_at desc, id desc);

create table integrations (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null references hubs (id),
    name text not null,
    realm text not null check (realm in ('EMBEDDED', 'BACKBLAZE')),
    key_id text not null,
    sealed_key bytea,
    -- A new key waits here until a probe has shown that it reaches what the old one stored.
    next_key_id text,
    next_sealed_key bytea,
    bucket text not null,
    prefix text not null,
    state text not null check (state in ('VERIFYING', 'LIVE', 'FAILED', 'DELETING', 'DELETED')),
    error_code text,
    error_message text,
    -- When a worker checks it next; also tells a check that something has changed since it began.
    check_at timestamptz not null default now(),
    verified_at timestamptz,
    created_at timestamptz not null default now(),
    unique (id, hub_id)
);
create index integrations_hub on integrations (hub_id, created_at desc, id desc);
create index integrations_place on integrations (lower(bucket));
create index integrations_due on integrations (check_at) where state in ('VERIFYING', 'LIVE', 'FAILED');

create table containers (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null references hubs (id),
    identifier text not null,
    name text not null,
    stateful boolean not null,
    labels jsonb not null default '{}',
    state text not null default 'LIVE' check (state in ('LIVE', 'DELETING', 'DELETED')),
    deleting_since timestamptz,
    created_at timestamptz not null default now(),
    unique (id, hub_id)
);
create unique index containers_identifier on containers (hub_id, identifier) where state <> 'DELETED';
create index containers_hub on containers (hub_id, created_at desc, id desc);
create index containers_deleting on containers (deleting_since) where state = 'DELETING';

create table instances (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null references hubs (id),
    container_id uuid not null,
    hostname text not null,
    state text not null check (state in ('RUNNING', 'PAUSED', 'STOPPED', 'UNREACHABLE', 'GONE', 'DELETING')),
    executor text not null check (executor in ('process', 'docker')),
    -- process: the worker's host name and the folder below the hub's root.
    host text,
    folder text,
    variable_names text[] not null default '{}',
    sealed_variables bytea,
    scratch boolean not null default false,
    created_at timestamptz not null default now(),
    removed_at timestamptz,
    foreign key (container_id, hub_id) references containers (id, hub_id)
);
create unique index instances_hostname on instances (container_id, hostname) where removed_at is null;
create index instances_container on instances (container_id, created_at desc, id desc);

create table backup_policies (
    container_id uuid primary key,
    hub_id uuid not null references hubs (id),
    integration_id uuid not null,
    backup_command text not null,
    backup_timeout interval not null,
    min_bytes bigint not null,
    restore_command text,
    restore_timeout interval not null,
    updated_at timestamptz not null default now(),
    foreign key (container_id, hub_id) references containers (id, hub_id),
    foreign key (integration_id, hub_id) references integrations (id, hub_id)
);
create index backup_policies_integration on backup_policies (integration_id);

-- A run: a backup, restore or verification being carried out. Its id is the id of what it makes.
create table runs (
    id uuid primary key,
    hub_id uuid not null references hubs (id),
    kind text not null check (kind in ('BACKUP', 'RESTORE', 'VERIFICATION')),
    container_id uuid not null,
    instance_id uuid,
    place text not null,
    command text not null,
    timeout interval not null,
    epoch bigint not null default 0,
    attempt bigint not null default 0,
    -- The epoch that was started last: starting the same one again changes nothing.
    started_epoch bigint not null default 0,
    owner text,
    cancel boolean not null default false,
    touched boolean not null default false,
    trace jsonb,
    start_by timestamptz not null,
    deadline_at timestamptz,
    not_before timestamptz not null default now(),
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    exit_code bigint,
    error_code text,
    error_message text,
    bytes_read bigint not null default 0,
    bytes_stored bigint not null default 0,
    bytes_delivered bigint not null default 0,
    bytes_per_second bigint,
    progress_at timestamptz,
    log_bytes bigint not null default 0,
    log_truncated boolean not null default false,
    requested_by_kind text not null,
    requested_by_id uuid,
    requested_by_name text not null
);
-- An instance is never in two runs at the same time.
create unique index runs_one_open_an_instance on runs (instance_id) where finished_at is null;
create index runs_open on runs (created_at) where finished_at is null;
create index runs_open_of_container on runs (container_id) where finished_at is null;
create index runs_ended on runs (finished_at) where finished_at is not null;

create table leases (
    instance_id uuid primary key references instances (id),
    run_id uuid,
    epoch bigint,
    owner text,
    lease_until timestamptz,
    -- What a lost owner may have left running (place, run mark, trace): killed before anything else starts.
    leftover jsonb
);
create index leases_held on leases (lease_until) where run_id is not null;
create index leases_left on leases (instance_id) where leftover is not null;

create table run_logs (
    run_id uuid not null,
    hub_id uuid not null,
    sequence bigint not null,
    at timestamptz not null default now(),
    stream text not null check (stream in ('STDERR', 'STDOUT_TAIL')),
    bytes bytea not null,
    primary key (run_id, sequence)
);

create table backups (
    id uuid primary key,
    hub_id uuid not null references hubs (id),
    container_id uuid not null,
    instance_id uuid,
    instance_hostname text not null,
    integration_id uuid not null,
    state text not null check (
        state in ('QUEUED', 'SAVING', 'LIVE', 'DELETING', 'DELETED', 'FAILED', 'CANCELED', 'SKIPPED')
    ),
    trigger text not null check (trigger in ('SCHEDULE', 'MANUAL', 'PRE_RESTORE', 'RECOVERED')),
    created_at timestamptz not null default now(),
    backup_command text not null,
    restore_command text,
    min_bytes bigint not null,
    -- The name is unique to run and epoch and stored before anything is sent; the ids as soon as B2 gave them.
    object_name text,
    upload_id text,
    file_id text,
    manifest_file_id text,
    size_bytes bigint,
    sha256 bytea check (length(sha256) = 32),
    chunk_hashes bytea,
    pinned boolean not null default false,
    note text,
    -- What was seen of the object when somebody looked last.
    storage_status text not null default 'UNCHECKED' check (
        storage_status in ('UNCHECKED', 'PRESENT', 'MISSING', 'MISMATCH', 'LOSS_ACCEPTED')
    ),
    storage_checked_at timestamptz,
    -- Set while DELETING, kept when DELETED; ITSELF by deleteBackups or a rule, CASCADE with its container.
    deleted_by text check (deleted_by in ('ITSELF', 'CASCADE')),
    deleting_since timestamptz,
    deleted_at timestamptz,
    unique (id, hub_id),
    foreign key (container_id, hub_id) references containers (id, hub_id),
    foreign key (integration_id, hub_id) references integrations (id, hub_id)
);
-- With the hub in front they win over the hub's own index whatever the planner thinks of a container's share.
create index backups_container on backups (hub_id, container_id, created_at desc, id desc);
create index backups_hub on backups (hub_id, created_at desc, id desc);
create index backups_integration on backups (integration_id);
create index backups_deleting on backups (deleting_since) where state = 'DELETING';
create index backups_stored on backups (hub_id, container_id) include (size_bytes)
where state in ('LIVE', 'DELETING');

create table restores (
    id uuid primary key,
    hub_id uuid not null references hubs (id),
    container_id uuid not null,
    instance_id uuid not null,
    backup_id uuid not null,
    state text not null check (state in ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELED')),
    trigger text not null check (trigger in ('MANUAL', 'VERIFICATION')),
    phase text not null check (
        phase in ('PREPARING', 'SAVING_TARGET', 'TRANSFERRING', 'WAITING_FOR_COMMAND', 'CHECKING')
    ),
    bytes_total bigint not null,
    created_at timestamptz not null default now(),
    foreign key (container_id, hub_id) references containers (id, hub_id),
    foreign key (backup_id, hub_id) references backups (id, hub_id)
);
create index restores_container on restores (hub_id, container_id, created_at desc, id desc);
create index restores_backup on restores (hub_id, backup_id, created_at desc, id desc);
create index restores_hub on restores (hub_id, created_at desc, id desc);

-- Addresses that stream a backup's bytes once; only a hash of what makes one secret is kept.
create table downloads (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null references hubs (id),
    backup_id uuid not null,
    hash bytea not null unique,
    requested_by_id uuid not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    foreign key (backup_id, hub_id) references backups (id, hub_id) on delete cascade
);
create index downloads_backup on downloads (backup_id);
create index downloads_age on downloads (expires_at);

-- No foreign keys: a reclaim outlives the container, the integration and the hub.
create table reclaims (
    id uuid primary key default gen_random_uuid(),
    hub_id uuid not null,
    integration_id uuid not null,
    backup_id uuid,
    -- OBJECT: a file version by id. UPLOAD: an unfinished large file by id. NAME: whatever bears exactly this name.
    kind text not null check (kind in ('OBJECT', 'UPLOAD', 'NAME')),
    name text not null,
    file_id text,
    not_before timestamptz not null default now(),
    attempts bigint not null default 0,
    error_code text,
    error_message text,
    created_at timestamptz not null default now(),
    -- B2 said for the first time that it is gone; a NAME is asked for once more before it is settled.
    confirmed_at timestamptz,
    settled_at timestamptz,
    check (kind = 'NAME' or file_id is not null)
);
create index reclaims_due on reclaims (not_before) where settled_at is null;
create index reclaims_backup on reclaims (backup_id) where settled_at is null;
create index reclaims_integration on reclaims (integration_id) where settled_at is null;

create table idempotency_keys (
    hub_id uuid not null references hubs (id),
    credential_id uuid not null,
    mutation text not null,
    key text not null,
    arguments bytea not null,
    result jsonb,
    created_at timestamptz not null default now(),
    primary key (hub_id, credential_id, mutation, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

-- The second lock between hubs. Unset gives no row.
create function current_hub() returns uuid language sql stable parallel safe
return nullif(current_setting('app.hub', true), '')::uuid;

do $$
declare tenant text;
begin
    foreach tenant in array array[
        'api_keys', 'integrations', 'containers', 'instances', 'backup_policies', 'runs', 'run_logs',
        'backups', 'restores', 'downloads', 'reclaims', 'idempotency_keys'
    ] loop
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

alter table hubs enable row level security;
create policy hub on hubs to "{gateway}" using (id = current_hub());
create policy every_hub on hubs to "{worker}" using (true);
grant select on hubs, installation to "{gateway}", "{worker}";
grant delete on backup_policies, idempotency_keys to "{gateway}";

-- A lease belongs to its instance's hub.
alter table leases enable row level security;
create policy hub on leases to "{gateway}"
using (exists (select from instances where instances.id = leases.instance_id and instances.hub_id = current_hub()))
with check (exists (select from instances where instances.id = leases.instance_id and instances.hub_id = current_hub()));
create policy every_hub on leases to "{worker}" using (true) with check (true);
grant select, insert, update, delete on leases to "{worker}";
grant select, insert on leases to "{gateway}";

-- Before a key is known its hub is not: this looks up exactly one hash and gives nothing else away.
create function authenticate(key_hash bytea)
returns table (key_id uuid, hub_id uuid, name text, role text, capabilities text[], expires_at timestamptz)
language sql stable security definer set search_path = pg_catalog, public
as $$
    select api_keys.id, api_keys.hub_id, api_keys.name, api_keys.role, api_keys.capabilities, api_keys.expires_at
    from public.api_keys
    where api_keys.hash = key_hash
        and api_keys.revoked_at is null
        and (api_keys.expires_at is null or api_keys.expires_at > now())
$$;
revoke execute on function authenticate (bytea) from public;
grant execute on function authenticate (bytea) to "{gateway}";

-- Whoever opens an address has no key: this spends exactly one, and gives away what it stands for and nothing else.
create function redeem_download(address_hash bytea)
returns table (hub_id uuid, backup_id uuid)
language sql volatile security definer set search_path = pg_catalog, public
as $$
    update public.downloads
    set used_at = now()
    where downloads.hash = address_hash
        and downloads.used_at is null
        and downloads.expires_at > now()
        and not exists (
            select
            from public.api_keys
            where api_keys.id = downloads.requested_by_id
                and (api_keys.revoked_at is not null or api_keys.expires_at <= now())
        )
    returning downloads.hub_id, downloads.backup_id
$$;
revoke execute on function redeem_download (bytea) from public;
grant execute on function redeem_download (bytea) to "{gateway}";
