"""Why something failed, and who had asked for it: what runs and integrations have in common."""

from typing import Self

import strawberry

from app import errors
from app.api.context import make_id
from app.defects import Defect
from app.model.runs import Requester

_INTERNAL = (errors.Fenced, errors.HandedOff)
"""Between workers only: no record ever shows them."""


def list_codes(*roots: type[errors.GatewayError]) -> str:
    """The codes of the catalogue below these classes, for a description."""
    codes: set[str] = set()
    classes = list(roots)
    while classes:
        error = classes.pop()
        if error not in _INTERNAL:
            codes.add(error.code)
        classes += error.__subclasses__()
    return ", ".join(f"`{code}`" for code in sorted(codes))


@strawberry.type(description="Why something failed.")
class Failure:
    code: str = strawberry.field(
        description="The reason in one word, for programs. Of a run: "
        f"{list_codes(errors.RunError)}; of Backblaze B2: {list_codes(errors.StorageError)}; of "
        f"the gateway itself: `{Defect.code}`. More may come."
    )
    message: str = strawberry.field(description="A sentence for a person, without secrets.")

    @classmethod
    def of(cls, code: str | None, message: str | None) -> Self | None:
        return None if code is None else cls(code=code, message=message or code)


@strawberry.type(name="Requester", description="Who asked for a run.")
class RequesterOfRun:
    kind: str = strawberry.field(
        description="`API_KEY`: a call with a key. `SCHEDULE`: a policy's schedule. `GATEWAY`: the "
        "gateway itself. More may come."
    )
    id: strawberry.ID | None = strawberry.field(
        description="The id of the API key; null where it was none."
    )
    name: str = strawberry.field(description="The name it had then.")

    @classmethod
    def of(cls, record: Requester) -> Self:
        return cls(
            kind=record.kind,
            id=None if record.id is None else make_id("ApiKey", record.id),
            name=record.name,
        )
