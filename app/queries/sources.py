"""Where values come from, as rows hold it."""

import asyncpg

from app.model.sources import Sources, ValueSource


def read_sources(row: asyncpg.Record) -> Sources:
    return {value: ValueSource(source) for value, source in row["sources"].items()}
