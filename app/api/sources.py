"""Where values come from: the API, a label, or the default."""

from collections.abc import Iterable
from typing import Self

import strawberry

from app.model.sources import Sources, ValueSource, source_of


@strawberry.type(description="Where a value comes from.")
class ValueOrigin:
    value: str = strawberry.field(
        description="The name of the field, with dots where it is deeper: `backup.cron`."
    )
    source: ValueSource = strawberry.field(description="What said it.")

    @classmethod
    def list_of(cls, values: Iterable[str], sources: Sources) -> list[Self]:
        return [cls(value=value, source=source_of(sources, value)) for value in values]
