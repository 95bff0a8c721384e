-- no-transaction
-- Why: records of an integration in the order of their objects' names, as B2 lists them; pending reclaims by name.
-- Locks: builds beside reads and writes. Old code: runs on it.
drop index concurrently if exists backups_objects;
-- squawk-ignore ban-concurrent-index-creation-in-transaction
create index concurrently backups_objects on backups (integration_id, object_name collate "C")
where object_name is not null;
drop index concurrently if exists reclaims_name;
-- squawk-ignore ban-concurrent-index-creation-in-transaction
create index concurrently reclaims_name on reclaims (integration_id, name) where settled_at is null;
