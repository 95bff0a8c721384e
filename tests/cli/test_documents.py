"""Every document that the client sends is one that the contract allows."""

from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from app.cli import documents

ROOT = Path(__file__).parents[2]
SENT = sorted(
    name
    for name, text in vars(documents).items()
    if name.isupper() and isinstance(text, str) and "($" in text
)


def test_there_are_documents():
    assert len(SENT) == 21


@pytest.mark.parametrize("name", SENT)
def test_the_document_is_valid(name: str):
    schema = build_schema((ROOT / "schema.graphql").read_text())
    assert validate(schema, parse(getattr(documents, name))) == []
