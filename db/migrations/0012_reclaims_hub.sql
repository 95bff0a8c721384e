-- no-transaction
-- Why: a hub lists what is still to be removed.
-- Locks: none that holds up writes. Old code: does not notice.
create index concurrently reclaims_hub on reclaims (hub_id, created_at desc, id desc) where settled_at is null;
