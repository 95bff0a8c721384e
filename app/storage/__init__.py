"""Object storage: Backblaze B2 and the embedded one."""
