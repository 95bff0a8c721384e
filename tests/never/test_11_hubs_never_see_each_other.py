"""Point 11: one hub never sees another hub's anything, whatever root field is asked.

The calls are made from the schema: a root field that is added is tried as well.
"""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    build_schema,
    get_named_type,
)

from app.model.access import Role
from app.model.ids import decode_id, encode_id
from app.service import hubs, keys

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text())
SCALARS = {"Boolean": "true", "Int": "1", "BigInt": "1", "Duration": '"PT1H"', "String": '"x"'}
KINDS = ("container", "instance", "backup", "restore", "integration")


def _roots() -> list[tuple[str, str, GraphQLField]]:
    roots = [
        ("query", SCHEMA.query_type),
        ("mutation", SCHEMA.mutation_type),
    ]
    return [
        (operation, name, field)
        for operation, root in roots
        if root is not None
        for name, field in root.fields.items()
        if any(_takes_id(argument.type) for argument in field.args.values())
    ]


def _takes_id(kind: GraphQLInputType) -> bool:
    named = get_named_type(kind)
    if isinstance(named, GraphQLInputObjectType):
        return any(_takes_id(field.type) for field in named.fields.values())
    return named.name == "ID"


def _value(name: str, kind: GraphQLInputType, ids: dict[str, str], default: str) -> str:
    """A literal; ids by the argument's name, `default` where that tells nothing."""
    if isinstance(kind, GraphQLNonNull):
        return _value(name, kind.of_type, ids, default)
    if isinstance(kind, GraphQLList):
        return f"[{_value(name, kind.of_type, ids, default)}]"
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        return "{%s}" % _arguments(kind.fields, ids, default)  # noqa: UP031 - braces
    if get_named_type(kind).name == "ID":
        return f'"{ids.get(name.removesuffix("Id"), ids[default])}"'
    return SCALARS.get(get_named_type(kind).name, '"2026-01-01T00:00:00Z"')


def _arguments(fields: dict[str, Any], ids: dict[str, str], default: str) -> str:
    """What must be given, and every id that may be."""
    given = {
        name: field.type
        for name, field in fields.items()
        if isinstance(field.type, GraphQLNonNull) or _takes_id(field.type)
    }
    return ", ".join(f"{n}: {_value(n, kind, ids, default)}" for n, kind in given.items())


def _document(operation: str, name: str, field: GraphQLField, ids: dict[str, str], kind: str):
    result = get_named_type(field.type)
    shown = "__typename"
    if operation == "mutation":
        shown = "errors { __typename code message path }"
        if "results" in result.fields:
            shown += " results { accepted backup { id } error { __typename code message path } }"
    return f"{operation} {{ {name}({_arguments(field.args, ids, kind)}) {{ {shown} }} }}"


async def _everything(product):
    """An object of each kind of the first hub: their ids by kind."""
    load = await product.workload("db", backup="printf data", restore="cat > got")
    async with product.working():
        backup = await product.back_up(load)
        restore = await product.put_back(backup["id"], load.instance(2))
        assert restore["state"] == "SUCCEEDED"
    return {
        "container": load.id,
        "instance": load.instance(1),
        "backup": backup["id"],
        "restore": restore["id"],
        "integration": product.integration,
    }


def _like(identifier: str) -> str:
    """An id of the same kind that nobody has."""
    decoded = decode_id(identifier)
    assert decoded is not None
    return encode_id(decoded[0], uuid4())


async def _rows(product):
    async with product.owner.connection() as connection:
        return {
            table: sorted(
                row["line"]
                for row in await connection.fetch(f"select t::text as line from {table} t")
            )
            for table in (
                *("containers", "instances", "backups", "restores", "integrations"),
                *("backup_policies", "runs", "reclaims"),
            )
        }


@pytest.mark.timeout(120)  # every root field with every kind of id
async def test_what_belongs_to_another_hub_is_answered_like_what_is_not_there(product):
    theirs = await _everything(product)
    nobodys = {kind: _like(identifier) for kind, identifier in theirs.items()}
    other = await hubs.create_hub(product.owner, "globex")
    _, token = await keys.create_key(product.owner, hub_id=other.id, name="x", role=Role.ADMIN)
    before = await _rows(product)
    tried = set()

    async def answer(operation, name, field, ids, kind):
        response = await product.client.post(
            "/graphql",
            json={"query": _document(operation, name, field, ids, kind)},
            headers={"Authorization": f"Bearer {token}"},
        )
        # A document that is not valid would be answered alike, too.
        assert response.json().get("data") is not None, (name, kind, response.text)
        # Points come back by the minute, whatever is asked.
        text = re.sub(r'"left":[0-9]+', '"left":0', response.text)
        for known, identifier in ids.items():
            text = text.replace(identifier, f"<{known}>")
        return text

    for operation, name, field in _roots():
        for kind in KINDS:
            there = await answer(operation, name, field, theirs, kind)
            absent = await answer(operation, name, field, nobodys, kind)
            assert there == absent, (name, kind)
            tried.add(name)
    assert {"node", "backup", "createBackup", "restoreBackup", "deleteBackups"} <= tried
    assert await _rows(product) == before
