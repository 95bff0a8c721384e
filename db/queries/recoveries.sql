-- name: recover_run
-- The run of a backup whose record was lost, as its manifest tells of it; no row where the id is taken.
insert into runs (
    hub_id, id, kind, container_id, place, command, timeout, epoch, attempt, started_epoch, start_by, created_at,
    started_at, finished_at, exit_code, bytes_read, bytes_stored, requested_by_kind, requested_by_name
)
values ($1, $2, 'BACKUP', $3, 'anywhere', $4, $5, $6, 1, $6, $7, $7, $8, $9, 0, $10, $10, 'GATEWAY', $11)
on conflict (id) do nothing
returning id;

-- name: recover_backup
-- The record of a backup whose record was lost: its object and its manifest were seen.
insert into backups (
    hub_id, id, container_id, instance_hostname, integration_id, state, trigger, created_at, backup_command,
    restore_command, min_bytes, object_name, file_id, manifest_file_id, size_bytes, sha256, chunk_hashes,
    storage_status, storage_checked_at
)
values ($1, $2, $3, $4, $5, 'LIVE', $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 'PRESENT', now());
