"""What an operation knows: who asks, the parts it may use, and what it has read already."""

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import strawberry
from graphql import DocumentNode, GraphQLError

from app.api.loaders import Fetch, Line, Loaders, Work
from app.api.nodes import Node, NodeKind
from app.model.access import Principal
from app.model.ids import decode_id, encode_id
from app.model.steps import PassStep, pass_step
from app.postgres.listen import ListenHub
from app.postgres.pool import Connection, Database
from app.service.secrets import Sealer
from app.transfer.objects import Objects

V = TypeVar("V")
_CONNECTIONS_OF_AN_OPERATION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts and settings that every operation shares."""

    database: Database
    """In the role of the gateway."""
    listen: ListenHub
    sealer: Sealer
    delete_grace: timedelta
    start_within: timedelta
    schedule_jitter: timedelta
    """How much later than due a container's backups may be made."""
    embedded_key_prefix: str | None
    """None: there is no embedded B2."""
    default_host: str
    webhooks_without_tls: bool
    """Whether webhooks may be sent to `http` addresses, in networks that the operator listed."""
    objects: Objects
    """The only way by which a request reaches B2."""
    step: PassStep = pass_step
    """Awaited at each step, for those who want to see what a crash there does."""


class Context:
    """One operation; never shared between two."""

    def __init__(
        self,
        *,
        principal: Principal,
        parts: Parts,
        kinds: Mapping[str, NodeKind],
        document: DocumentNode,
        faults: Sequence[GraphQLError],
        line: Line,
    ) -> None:
        self.principal = principal
        self.parts = parts
        self.document = document
        self.faults = faults
        self._line = line
        self.shows_state = False
        """What is told is a state that is read again and again: the same need not be said twice."""
        self._kinds = kinds
        # One operation must not take all of the pool.
        self._turn = asyncio.Semaphore(_CONNECTIONS_OF_AN_OPERATION)
        self._loaders = self._make_loaders()

    @property
    def hub_id(self) -> UUID:
        return self.principal.hub_id

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A connection that sees the principal's hub only."""
        async with self._turn, self.parts.database.connection(self.hub_id) as connection:
            yield connection

    async def load(self, fetch: Fetch[V], id: UUID, *arguments: Hashable) -> V | None:
        """Read by id, together with whatever else asks the same query."""
        return await self._loaders.load(fetch, id, *arguments)

    async def work(self, work: Work[V], id: UUID) -> V | None:
        """Do `work(context, ids)` for this id, together with whatever else asks the same."""
        return await self._loaders.work(work, self, id)

    async def load_node(self, type_name: str, id: UUID) -> Node | None:
        kind = self._kinds[type_name]
        found = await self.load(kind.fetch, id)
        return None if found is None else kind.show(found)

    async def find_node(self, id: str) -> Node | None:
        """The node of an opaque id; None for a wrong one, another hub's, or nothing's.

        So it is for one that the principal may not see.
        """
        decoded = decode_id(id)
        if decoded is None or decoded[0] not in self._kinds:
            return None
        if not self.principal.may(self._kinds[decoded[0]].needs):
            return None
        return await self.load_node(*decoded)

    def forget(self) -> None:
        """Drop what was read: from now on everything is read again."""
        self._loaders = self._make_loaders()

    def _make_loaders(self) -> Loaders:
        return Loaders(self.read, self.hub_id, self._line)


Info = strawberry.Info[Context, None]


def make_id(type_name: str, id: UUID) -> strawberry.ID:
    return strawberry.ID(encode_id(type_name, id))
