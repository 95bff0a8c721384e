-- no-transaction
-- Why: workers ask for the instances of an engine.
-- Locks: builds beside reads and writes. Old code: runs on it.
drop index concurrently if exists instances_engine;
-- squawk-ignore ban-concurrent-index-creation-in-transaction
create index concurrently instances_engine on instances (engine_id) where engine_id is not null;
