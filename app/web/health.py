"""Health: whether the process lives, and whether it can answer requests."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.errors import DatabaseUnavailable
from app.postgres.listen import ListenHub
from app.postgres.pool import Database

READY_SECONDS = 5


class Health:
    def __init__(self, database: Database, listen: ListenHub) -> None:
        self._database = database
        self._listen = listen

    async def tell_alive(self, request: Request) -> Response:
        del request
        return JSONResponse({"status": "alive"})

    async def tell_ready(self, request: Request) -> Response:
        """200 where the database answers and its notifications arrive; else 503 with the reason."""
        del request
        try:
            async with asyncio.timeout(READY_SECONDS), self._database.connection() as connection:
                await connection.fetchval("select 1")
        except (TimeoutError, DatabaseUnavailable):
            return _refuse("The database cannot be reached.")
        if not self._listen.is_listening:
            return _refuse("The database's notifications do not arrive.")
        return JSONResponse({"status": "ready"})


def _refuse(reason: str) -> Response:
    return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)
