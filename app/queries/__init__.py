"""One function a named query: rows to model, no decisions."""
