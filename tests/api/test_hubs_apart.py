"""Another hub's id answers exactly as the id of nothing does, wherever one can be given."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from graphql import build_schema, parse, validate
from starlette.applications import Starlette

from app.model.access import Role
from app.model.ids import decode_id, encode_id
from app.postgres.listen import ListenHub
from app.postgres.pool import Database
from tests.conftest import execute, name_database, run_apart
from tests.graphql_server import serve
from tests.graphql_socket import open_socket
from tests.root_calls import RootCall, write_calls
from tests.scene import Scene, build_scene

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8"))
CALLS = list(write_calls(SCHEMA))
PLACES = [(call, place) for call in CALLS for place in call.ids]
NAMES = {
    "Hub": "hub",
    "Container": "container",
    "Instance": "instance",
    "Integration": "integration",
    "Backup": "backup",
    "Restore": "restore",
    "ApiKey": "viewerKey",
    "Event": "event",
    "Webhook": "webhook",
    "Drift": "orphan",
}
"""The object of a scene to take of each type."""


def name_place(value: object) -> str:
    return value.label if isinstance(value, RootCall) else str(value)


@pytest.fixture(scope="module")
def staged(
    server_dsn: str, template: str, database_names: Iterator[str]
) -> Iterator[tuple[str, Scene, Scene]]:
    """A database that holds two hubs with one of everything, for each test to copy."""
    name = next(database_names)
    run_apart(execute(server_dsn, f'create database "{name}" template "{template}"'))
    dsn = name_database(server_dsn, name)
    yield name, run_apart(build_scene(dsn)), run_apart(build_scene(dsn, hub="other"))
    run_apart(execute(server_dsn, f'drop database "{name}" with (force)'))


@pytest.fixture
async def dsn(
    server_dsn: str, staged: tuple[str, Scene, Scene], database_names: Iterator[str]
) -> AsyncIterator[str]:
    name = next(database_names)
    copy = f'create database "{name}" template "{staged[0]}" strategy file_copy'
    await execute(server_dsn, copy)
    yield name_database(server_dsn, name)
    await execute(server_dsn, f'drop database "{name}" with (force)')


@pytest.fixture
def mine(staged: tuple[str, Scene, Scene]) -> Scene:
    return staged[1]


@pytest.fixture
def foreign(staged: tuple[str, Scene, Scene]) -> Scene:
    return staged[2]


async def read_all(owner: Database, scene: Scene) -> dict[str, str]:
    """A fingerprint of each table's rows of a hub."""
    async with owner.connection() as connection:
        tables = await connection.fetch(
            "select table_name from information_schema.columns"
            " where table_schema = 'public' and column_name = 'hub_id'"
        )
        return {
            table: await connection.fetchval(
                f"select md5(string_agg(t::text, '|' order by t::text)) from {table} t"
                " where hub_id = $1",
                scene.hub.id,
            )
            for (table,) in tables
        }


async def ask(
    app: Starlette, http: httpx.AsyncClient, call: RootCall, variables: dict[str, str], token: str
) -> Any:
    """The answer, or of a subscription what it says first."""
    if call.kind == "subscription":
        async with serve(app) as place, open_socket(place) as opened:
            await opened.init(token)
            await opened.subscribe("1", call.text, **variables)
            return await opened.read()
    response = await http.post(
        "/graphql",
        json={"query": call.text, "variables": variables},
        headers={"authorization": f"Bearer {token}"},
    )
    answer = response.json()
    answer["extensions"]["cost"].pop("left")
    return answer


def test_every_call_is_valid() -> None:
    errors = [validate(SCHEMA, parse(call.text)) for call in CALLS]
    assert errors == [[] for _ in CALLS]
    assert {kind for call in CALLS for kind in call.ids.values()} <= set(NAMES)


@pytest.mark.parametrize(("call", "place"), PLACES, ids=name_place)
async def test_another_hubs_id_answers_as_nothing_does(
    *,
    call: RootCall,
    place: str,
    mine: Scene,
    foreign: Scene,
    app: Starlette,
    http: httpx.AsyncClient,
    listening: ListenHub,
    owner: Database,
) -> None:
    """All other ids of the call are the caller's own."""
    del listening
    kind = call.ids[place]
    theirs, nothings = foreign.ids[NAMES[kind]], encode_id(kind, uuid4())
    own = {name: mine.ids[NAMES[type_]] for name, type_ in call.ids.items()}
    before = await read_all(owner, foreign)
    answers = []
    for id in (nothings, theirs, own[place]):
        answer = await ask(app, http, call, own | {place: id}, mine.tokens[Role.ADMIN])
        text = orjson.dumps(answer).decode()
        decoded = decode_id(id)
        assert decoded is not None
        assert id == own[place] or str(decoded[1]) not in text
        answers.append(text.replace(id, "the id"))
    assert answers[0] == answers[1]
    assert answers[0] != answers[2], "what it answers is not about the id"
    assert await read_all(owner, foreign) == before
