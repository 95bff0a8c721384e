"""Defects: what nobody expected is masked, and logged under the reference that people are told."""

import traceback
from uuid import uuid4

import structlog

from app.errors import GatewayError

log = structlog.get_logger()


class Defect(GatewayError):
    """Something went wrong here; the message has the reference of the log line that says what."""

    retry = True

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"Something went wrong here. Tell the operator this reference: {reference}"
        )
        self.reference = reference


def mask(cause: BaseException, **place: object) -> Defect:
    """Log a defect, with where it was met; what people may see of it is the reference only.

    The log gets the trace as text: a renderer of exceptions may show local variables, and secrets
    are among them.
    """
    reference = str(uuid4())
    trace = "".join(traceback.format_exception(cause))
    log.error("operation_failed", reference=reference, trace=trace, **place)
    return Defect(reference)
