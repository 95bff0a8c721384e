-- no-transaction
-- Why: the last backups of an instance, by its hostname: whether a size has dropped, whether a due time was answered.
-- Locks: none that anybody waits for. Old code: runs on it.

create index concurrently backups_saved on backups (hub_id, container_id, instance_hostname, created_at desc, id desc)
include (size_bytes) where state = 'LIVE';
