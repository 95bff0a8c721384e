"""The documents that were sent lately and are valid: each is parsed and validated only once."""

from collections import OrderedDict

from graphql import DocumentNode

TOKENS = 50_000
"""Of all documents that are kept; a token takes about 600 bytes."""


class KnownDocuments:
    """Keeps valid documents by their text; those not used for longest go first.

    Only what was found valid is kept: refused documents push nothing out.
    """

    def __init__(self, tokens: int = TOKENS) -> None:
        self._left = tokens
        self._documents: OrderedDict[str, DocumentNode] = OrderedDict()

    def has(self, query: str) -> bool:
        return query in self._documents

    def find(self, query: str) -> DocumentNode | None:
        document = self._documents.get(query)
        if document is not None:
            self._documents.move_to_end(query)
        return document

    def keep(self, query: str, document: DocumentNode) -> None:
        """Remember a document that is valid; one with more tokens than are kept is not."""
        if query in self._documents:
            return
        self._documents[query] = document
        self._left -= document.token_count
        while self._left < 0:
            _, dropped = self._documents.popitem(last=False)
            self._left += dropped.token_count
