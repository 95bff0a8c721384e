"""The viewer: who is asking, and what they may do; and nodes by their ids."""

import asyncio
from datetime import datetime
from typing import Annotated

import strawberry

from app.api import access
from app.api.context import Info, make_id
from app.api.keys import LIST_CAPABILITIES, WITHOUT_READ
from app.api.nodes import Node
from app.api.paging import LARGEST_PAGE, refuse
from app.model.access import Capability, Role


@strawberry.type(description="Who is asking: the credential of this request.")
class Viewer:
    key_id: strawberry.ID = strawberry.field(description="The id of the API key.")
    name: str = strawberry.field(description="What the key is called.")
    role: Role | None = strawberry.field(
        description="The key's role; null where it has a list of capabilities instead."
    )
    capabilities: list[str] = strawberry.field(
        description=f"What the key may do: {LIST_CAPABILITIES}. More may come. {WITHOUT_READ}"
    )
    expires_at: datetime | None = strawberry.field(
        description="When the key stops working; null where it does not."
    )


@strawberry.type
class ViewerQueries:
    @access.query(None, description="Who is asking, and what they may do.")
    def viewer(self, info: Info) -> Viewer:
        principal = info.context.principal
        return Viewer(
            key_id=make_id("ApiKey", principal.key_id),
            name=principal.name,
            role=principal.role,
            capabilities=sorted(principal.capabilities),
            expires_at=principal.expires_at,
        )

    @access.query(
        Capability.READ,
        description="Any object by its id; null where your hub has none with this id.",
    )
    async def node(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The id of any object.")],
    ) -> Node | None:
        return await info.context.find_node(id)

    @access.query(
        Capability.READ,
        description="Several objects by their ids, in the order given; null where your hub has "
        "none with an id.",
    )
    async def nodes(
        self,
        info: Info,
        *,
        ids: Annotated[
            list[strawberry.ID], strawberry.argument(description="The ids, at most 100.")
        ],
    ) -> list[Node | None]:
        if len(ids) > LARGEST_PAGE:
            raise refuse("ids", f"At most {LARGEST_PAGE} ids can be asked for, not {len(ids)}.")
        # Asked for together, so that each type takes one statement.
        return list(await asyncio.gather(*(info.context.find_node(id) for id in ids)))
