-- no-transaction
-- Why: how many backups are overdue now; those of which people were not told yet have an index already.
-- Locks: builds beside reads and writes. Old code: runs on it.
drop index concurrently if exists schedules_overdue;
-- squawk-ignore ban-concurrent-index-creation-in-transaction
create index concurrently schedules_overdue on schedules (expected_by) where overdue_told_at is not null;
