-- workers_hubs.authenticate
select key_id, hub_id, name, role, capabilities, expires_at
from authenticate($1);

BEGIN;

-- containers.lock
select id, hub_id, identifier, name, stateful, labels, state, deleting_since, goes_at, created_at,
    found_engine_id, found_project, found_service, sources
from containers
where hub_id = $1 and id = $2
for no key update;

-- policies.by_containers
select hub_id, container_id, integration_id, backup_command, backup_timeout, min_bytes,
    restore_command, restore_timeout, restore_check, restore_safety_backup,
    enabled, cron, time_zone, instances, overdue_after,
    max_age, keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly,
    pre_restore_max_age, verification_level, verification_every, verification_after_each,
    verification_check, sources,
    updated_at
from backup_policies
where hub_id = $1 and container_id = any ($2::uuid[])
order by container_id
limit cardinality($2::uuid[]);

-- integrations.hold
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = $2
for share;

-- policies.put
insert into backup_policies (
    hub_id, container_id, integration_id, backup_command, backup_timeout, min_bytes,
    restore_command, restore_timeout, restore_check, restore_safety_backup,
    enabled, cron, time_zone, instances, overdue_after,
    max_age, keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly,
    pre_restore_max_age, verification_level, verification_every, verification_after_each,
    verification_check, sources, retention_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
    $21, $22, $23, $24, $25, $26, $27, $28, now() + interval '1 hour')
on conflict (container_id) do update
set
    integration_id = excluded.integration_id,
    backup_command = excluded.backup_command,
    backup_timeout = excluded.backup_timeout,
    min_bytes = excluded.min_bytes,
    restore_command = excluded.restore_command,
    restore_timeout = excluded.restore_timeout,
    restore_check = excluded.restore_check,
    restore_safety_backup = excluded.restore_safety_backup,
    enabled = excluded.enabled,
    cron = excluded.cron,
    time_zone = excluded.time_zone,
    instances = excluded.instances,
    overdue_after = excluded.overdue_after,
    max_age = excluded.max_age,
    keep_last = excluded.keep_last,
    keep_hourly = excluded.keep_hourly,
    keep_daily = excluded.keep_daily,
    keep_weekly = excluded.keep_weekly,
    keep_monthly = excluded.keep_monthly,
    keep_yearly = excluded.keep_yearly,
    pre_restore_max_age = excluded.pre_restore_max_age,
    verification_level = excluded.verification_level,
    verification_every = excluded.verification_every,
    verification_after_each = excluded.verification_after_each,
    verification_check = excluded.verification_check,
    sources = excluded.sources,
    -- Whoever changes what is kept has an hour to look at what that means.
    retention_at = case
        when (
            backup_policies.enabled, backup_policies.time_zone, backup_policies.max_age,
            backup_policies.keep_last, backup_policies.keep_hourly, backup_policies.keep_daily,
            backup_policies.keep_weekly, backup_policies.keep_monthly, backup_policies.keep_yearly,
            backup_policies.pre_restore_max_age
        ) is distinct from (
            excluded.enabled, excluded.time_zone, excluded.max_age,
            excluded.keep_last, excluded.keep_hourly, excluded.keep_daily,
            excluded.keep_weekly, excluded.keep_monthly, excluded.keep_yearly,
            excluded.pre_restore_max_age
        ) then excluded.retention_at
        else least(backup_policies.retention_at, excluded.retention_at)
    end,
    verify_at = now(),
    updated_at = now()
returning hub_id, container_id, integration_id, backup_command, backup_timeout, min_bytes,
    restore_command, restore_timeout, restore_check, restore_safety_backup,
    enabled, cron, time_zone, instances, overdue_after,
    max_age, keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly,
    pre_restore_max_age, verification_level, verification_every, verification_after_each,
    verification_check, sources,
    updated_at;

-- instances.running
select id, hub_id, container_id, hostname, state, executor, host, folder, engine_id,
    engine_container, command_user, variable_names, scratch, created_at, removed_at,
    replica, sources
from instances
where hub_id = $1 and container_id = $2 and removed_at is null and state = 'RUNNING'
order by created_at asc, id asc
limit $3;

-- schedules.put
-- missed and nobody has seen to is caught up first.
insert into schedules (hub_id, container_id, due_at, next_at)
values ($1, $2, $3, $4)
on conflict (container_id) do update
set
    due_at = case when schedules.next_at <= now() then schedules.due_at else excluded.due_at end,
    next_at = case when schedules.next_at <= now() then schedules.next_at else excluded.next_at end;

COMMIT;

-- integrations.by_ids
select id, hub_id, name, realm, key_id, next_key_id, bucket, prefix, state, error_code, error_message,
    verified_at, created_at
from integrations
where hub_id = $1 and id = any ($2::uuid[])
order by id
limit cardinality($2::uuid[]);
