"""The database as a machine."""
