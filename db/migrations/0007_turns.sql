-- no-transaction
-- Why: workers take the runs that wait from one hub after the other; this finds the next hub's oldest.
-- Locks: builds beside reads and writes. Old code: runs on it.
drop index concurrently if exists runs_in_turn;
-- squawk-ignore ban-concurrent-index-creation-in-transaction
create index concurrently runs_in_turn on runs (place, hub_id, created_at, id) where finished_at is null;
