-- Why: the whole of a backup policy: its schedule, how long backups are kept, how they are verified, safer restores.
-- Locks: backup_policies, exclusively and briefly: constant defaults rewrite nothing, and the table is small.
-- Old code: runs on it; it writes policies without these columns, which then have their defaults.

alter table backup_policies
add column enabled boolean not null default true,
add column cron text,
-- Also of the days, weeks and months of the retention, so it is there without a schedule.
add column time_zone text not null default 'UTC',
add column instances text not null default 'EACH',
add column overdue_after interval not null default '1 hour',
add column restore_check text,
add column restore_safety_backup boolean not null default false,
add column max_age interval not null default '365 days',
add column pre_restore_max_age interval not null default '30 days',
add column keep_last bigint,
add column keep_hourly bigint,
add column keep_daily bigint,
add column keep_weekly bigint,
add column keep_monthly bigint,
add column keep_yearly bigint,
add column verification_level text,
add column verification_every interval,
add column verification_after_each boolean not null default false,
add column verification_check text;

-- Validated by a later file: in the same transaction that would hold everybody up.
alter table backup_policies
add constraint backup_policies_instances_check check (instances in ('EACH', 'FIRST_RUNNING')) not valid;
alter table backup_policies
add constraint backup_policies_verification_level_check check (
    verification_level in ('STORED', 'READABLE', 'RESTORABLE')
) not valid;
