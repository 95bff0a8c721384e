"""Trusted documents: those that a request may name by an id, and may be all that is carried out."""

import hashlib
import re
from collections.abc import Mapping

from graphql import GraphQLError, GraphQLSchema, parse, validate

from app.api.limits import refuse

LONGEST_ID = 200

_HASH = "sha256:"
_ID = re.compile(r"(?:sha256:[0-9a-f]{64}|(?:x-[\w.~-]+:)?[\w.~-]+)", re.ASCII)


class TrustedDocuments:
    """The operator's documents, by the ids that the list gives them and by their SHA-256."""

    def __init__(self, documents: Mapping[str, str] | None = None, *, only: bool = False) -> None:
        """`only`: nothing else is carried out. See `find_faults` for what the list must be."""
        documents = documents or {}
        self.only = only
        self._by_id = {**{hash_document(text): text for text in documents.values()}, **documents}
        self._texts = frozenset(documents.values())

    def find(self, id: str) -> str:
        """The document of an id. Raises GraphQLError."""
        document = self._by_id.get(id)
        if document is None:
            message = "This gateway's list of trusted documents has none of this `documentId`."
            raise refuse("DOCUMENT_NOT_FOUND", message)
        return document

    def find_by_hash(self, digest: str) -> str:
        """The document of a SHA-256 in hex, as Apollo's clients ask. Raises GraphQLError."""
        document = self._by_id.get(_HASH + digest)
        if document is None:
            # By this message and code those clients know what it is.
            raise refuse("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
        return document

    def check(self, query: str) -> None:
        """Raise GraphQLError where this text must not be carried out."""
        if self.only and query not in self._texts:
            raise refuse(
                "DOCUMENT_NOT_TRUSTED",
                "This gateway carries out the documents of its list of trusted documents only, and "
                "this is none of them; name one by `documentId`.",
            )


def hash_document(text: str) -> str:
    """The id that every trusted document has."""
    return _HASH + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def find_faults(documents: Mapping[str, str]) -> list[str]:
    """Why this cannot be a list of trusted documents; empty where it can."""
    faults = []
    for id, text in documents.items():
        shown = repr(id if len(id) <= LONGEST_ID else f"{id[:LONGEST_ID]}...")
        if len(id) > LONGEST_ID or not _ID.fullmatch(id):
            faults.append(
                f"{shown} is no id: `sha256:` and 64 hex digits in lower case, or letters, digits "
                f"and - . _ ~, with or without a prefix like `x-mine:`; at most {LONGEST_ID}"
            )
        elif id.startswith(_HASH) and id != hash_document(text):
            faults.append(f"{shown} is not the SHA-256 of its document, {hash_document(text)}")
        else:
            try:
                parse(text)
            except GraphQLError as error:
                faults.append(f"{shown} is no GraphQL document: {error.message}")
    return faults


def find_outdated(documents: Mapping[str, str], schema: GraphQLSchema) -> dict[str, str]:
    """The ids of the documents that the schema does not fit, each with the first reason."""
    found = {}
    for id, text in documents.items():
        errors = validate(schema, parse(text))
        if errors:
            found[id] = errors[0].message
    return found
