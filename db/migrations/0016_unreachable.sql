-- Why: people are told of a bucket that cannot be reached for long, though its integration stays LIVE.
-- Locks: integrations exclusively but briefly (a column without a value, a constant default). Old code: runs on it.

-- Since when no check of it could reach B2.
alter table integrations add column unreachable_since timestamptz;
-- People were told: once, until a check passes.
alter table integrations add column unreachable_told boolean not null default false;
