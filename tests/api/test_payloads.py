"""Payloads: a key without READ sees of the objects that it changes their id and state only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from graphql import (
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    get_named_type,
    is_composite_type,
    validate,
)

from app.api.documents import prepare
from app.api.execution import find_sizes
from app.api.known_documents import KnownDocuments
from app.api.limits import Limits
from app.api.payloads import OPEN, refuse_reading
from app.api.schema import export
from app.model.access import Capability, Principal
from app.model.ids import encode_id
from app.postgres.pool import Database
from tests.builders import Stage, a_live_backup, a_stage, read_backup
from tests.graphql_server import Client

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8"))
UPDATE = """
mutation($id: ID!) { updateBackup(id: $id, pinned: true) { %s errors { code } } } %s
"""
THROUGH = [
    ("backup { id sha256 }", ""),
    ("backup { target { bucket path } }", ""),
    ("backup { container { id } }", ""),
    ("backup { container { identifier restores { nodes { logs { nodes { text } } } } } }", ""),
    ("backup { logs { nodes { text } } }", ""),
    ("backup { state: note }", ""),
    ("backup { ... on Backup { ... on Node { ... on Backup { note } } } }", ""),
    ("backup { ...A }", "fragment A on Node { ...B } fragment B on Backup { note }"),
    ("...A", "fragment A on UpdateBackupPayload { backup { ...B } } fragment B on Backup { note }"),
    ("backup { note @include(if: false) }", ""),
]


def a_principal(*capabilities: Capability) -> Principal:
    return Principal(
        hub_id=UUID(int=1),
        key_id=UUID(int=2),
        name="partner",
        role=None,
        capabilities=frozenset(capabilities),
    )


def refuse(query: str, principal: Principal) -> dict[str, Any] | None:
    prepared = prepare(
        query,
        variables=None,
        operation_name=None,
        limits=Limits(),
        lists=(),
        sizes=find_sizes(export()),
        known=KnownDocuments(),
    )
    found = refuse_reading(SCHEMA, prepared, principal)
    return None if found is None else found.extensions


def is_node(type_: GraphQLObjectType) -> bool:
    return any(one.name == "Node" for one in type_.interfaces)


def find_fields(type_: GraphQLObjectType, before: str = "%s") -> Iterator[tuple[str, str, str]]:
    """Each field of what a payload shows: the node's type, its name, and how to ask for it."""
    for name, field in type_.fields.items():
        named = get_named_type(field.type)
        asked = f"{name} {{ __typename }}" if is_composite_type(named) else name
        yield type_.name if is_node(type_) else "", name, before % asked
        if isinstance(named, GraphQLObjectType) and not is_node(type_):
            yield from find_fields(named, before % f"{name} {{ %s }}")


def find_calls(schema: GraphQLSchema) -> Iterator[tuple[str, str, str]]:
    assert schema.mutation_type is not None
    for name, field in schema.mutation_type.fields.items():
        payload = get_named_type(field.type)
        assert isinstance(payload, GraphQLObjectType)
        for type_name, leaf, asked in find_fields(payload):
            yield type_name, leaf, f"mutation {{ {name} {{ {asked} }} }}"


def test_of_every_mutations_objects_id_and_state_are_open_and_nothing_else() -> None:
    lacking = {Capability.READ, Capability.MANAGE_KEYS, Capability.CONFIGURE}
    nobody = a_principal(*(set(Capability) - lacking))
    reader = a_principal(Capability.READ)
    seen: set[str] = set()
    for type_name, leaf, query in find_calls(SCHEMA):
        closed = bool(type_name) and leaf not in {"id", "state"}
        assert refuse(query, nobody) == ({"code": "FORBIDDEN"} if closed else None), query
        if type_name not in {"ApiKey", "Webhook"}:
            assert refuse(query, reader) is None
        seen.add(type_name)
    nodes = {
        "Backup",
        "Restore",
        "Container",
        "Instance",
        "Integration",
        "Engine",
        "ApiKey",
        "Webhook",
    }
    nodes |= {"Drift", "Hub", "Verification"}
    assert seen == {"", *nodes}
    assert {"__typename", "id", "state"} == OPEN


def test_the_samples_are_documents_of_the_schema() -> None:
    for asked, fragments in THROUGH:
        document = prepare(
            UPDATE % (asked, fragments),
            variables=None,
            operation_name=None,
            limits=Limits(),
            lists=(),
            sizes=find_sizes(export()),
            known=KnownDocuments(),
        ).document
        assert validate(SCHEMA, document) == []


def test_who_manages_keys_sees_the_key_that_was_made() -> None:
    query = 'mutation { createApiKey(name: "x") { secret apiKey { id name prefix expiresAt } } }'
    assert refuse(query, a_principal(Capability.MANAGE_KEYS)) is None
    assert refuse(query, a_principal(Capability.CONFIGURE)) == {"code": "FORBIDDEN"}


def test_fragments_in_a_circle_and_unknown_names_are_left_to_validation() -> None:
    query = (
        "mutation { ...A ...No nothing { x } } "
        "fragment A on Mutation { ...A ...B } fragment B on No { x }"
    )
    assert refuse(query, a_principal()) is None


@pytest.fixture
async def stage(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Stage:
    return await a_stage(owner, gateway_database, worker_database, admin=admin.principal)


@pytest.mark.parametrize(("asked", "fragments"), THROUGH)
async def test_a_mutation_that_reads_is_refused_before_anything_is_done(
    *,
    asked: str,
    fragments: str,
    admin: Client,
    stage: Stage,
    owner: Database,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stage)
    id = encode_id("Backup", backup.id)
    async with owner.connection() as connection:
        await connection.execute(
            "update api_keys set role = null, capabilities = '{PIN_BACKUPS}' where id = $1",
            admin.principal.key_id,
        )
    answer = await admin.post(UPDATE % (asked, fragments), {"id": id})
    [error] = answer["errors"]
    assert error["extensions"] == {"code": "FORBIDDEN"}
    assert "READ" in error["message"]
    assert "data" not in answer
    assert not (await read_backup(gateway_database, stage, backup.id)).pinned
    data = await admin.ask(UPDATE % ("backup { __typename id state }", ""), id=id)
    assert data["updateBackup"] == {
        "backup": {"__typename": "Backup", "id": id, "state": "LIVE"},
        "errors": [],
    }
