"""Decisions: one function is one use case is one transaction."""
