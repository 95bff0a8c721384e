"""The list of trusted documents, read from the file that the operator names."""

import json
from pathlib import Path

import structlog

from app.api.execution import read_schema
from app.api.schema import export
from app.api.trusted_documents import (
    TrustedDocuments,
    find_faults,
    find_outdated,
    hash_document,
)
from app.cli.documents import ALL as OWN
from app.errors import StartError
from app.settings import Settings

_SETTING = "BACKUP_GATEWAY_TRUSTED_DOCUMENTS"

log = structlog.get_logger()


def make_trusted_documents(settings: Settings) -> TrustedDocuments:
    """What the operator lists, and what the command line sends, so that it works on as well.

    Raises StartError. A document that the schema does not fit is only warned of: an upgrade of the
    gateway must not stop it.
    """
    path = settings.trusted_documents
    if path is None:
        return TrustedDocuments()
    documents = _read(path)
    faults = find_faults(documents)
    if faults:
        raise StartError(f"{_SETTING}: {path} is wrong:\n" + "\n".join(f"  - {f}" for f in faults))
    for id, reason in find_outdated(documents, read_schema(export())).items():
        log.warning("a trusted document does not fit the schema", document=id, reason=reason)
    own = {hash_document(text): text for text in OWN}
    return TrustedDocuments(own | documents, only=settings.trusted_only)


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text("utf-8"), object_pairs_hook=_refuse_twins)
    except OSError as error:
        raise StartError(f"{_SETTING}: {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise StartError(f"{_SETTING}: {path} is not JSON: {error}.") from None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise StartError(f"{_SETTING}: {path} is not a JSON object of ids and documents.")
    return found


def _refuse_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an id is there twice")
    return found
