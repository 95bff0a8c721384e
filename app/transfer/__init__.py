"""The heart: bytes between a command and storage; no SQL."""
