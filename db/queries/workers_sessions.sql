-- Cross hubs: sessions of the gateway's own programs, seen as whoever they logged in as.

-- name: end_stalled
-- Sessions of ours that keep a transaction, and its locks, open in the middle of a statement of which
-- the client sends no more: its process is paused, and no timeout of the server counts that.
select count(pg_terminate_backend(pid)) as ended
from pg_stat_activity
where usename = session_user
    and datname = current_database()
    and application_name like 'backup-gateway%'
    and state = 'active'
    and wait_event = 'ClientRead'
    and query_start < clock_timestamp() - $1::interval
    and pid <> pg_backend_pid();
