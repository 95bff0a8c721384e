"""What is another hub's answers exactly as what is nothing, wherever an id or cursor is given."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from graphql import build_schema, get_named_type, parse, validate
from starlette.applications import Starlette

from app.model.access import Role
from app.model.ids import decode_id, encode_id
from app.postgres.listen import ListenHub
from app.postgres.pool import Database
from tests.conftest import execute, name_database, run_apart
from tests.graphql_server import serve
from tests.graphql_socket import open_socket
from tests.root_calls import RootCall, find_nodes, write_calls, write_nested_calls
from tests.scene import Scene, build_scene

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8"))
CALLS = [*write_calls(SCHEMA), *write_nested_calls(SCHEMA)]
PLACES = [(call, place) for call in CALLS for place in call.ids]
NAMES = {
    "Hub": "hub",
    "Container": "container",
    "Instance": "instance",
    "Integration": "integration",
    "Engine": "engine",
    "Backup": "backup",
    "Restore": "restore",
    "Verification": "verification",
    "ApiKey": "viewerKey",
    "Event": "event",
    "Webhook": "webhook",
    "Drift": "orphan",
    "Reclaim": "reclaim",
}
"""The object of a scene to take of each type."""
OF_ANY_TYPE = {"node", "nodes"}
SAME_FOR_ALL = {("Container", "retentionPreview")}
"""What is planned does not depend on where the backups are kept."""


def name_place(value: object) -> str:
    return value.label if isinstance(value, RootCall) else str(value)


@pytest.fixture(scope="session")
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
    """So do one of another type and what is no id. All other ids of the call are the caller's."""
    del listening
    kind = call.ids[place]
    own = {name: mine.ids[NAMES[type_]] for name, type_ in call.ids.items()}
    if call.of is not None:
        own["node"] = mine.ids[NAMES[call.of]]
    wrong = [encode_id(kind, uuid4()), foreign.ids[NAMES[kind]], "rubbish", ""]
    if call.name not in OF_ANY_TYPE:
        wrong.append(mine.ids["unused" if kind != "Integration" else "container"])
    before = await read_all(owner, foreign)
    answers = []
    for id in wrong:
        answer = await ask(app, http, call, own | {place: id}, mine.tokens[Role.ADMIN])
        text = orjson.dumps(answer).decode()
        decoded = decode_id(id)
        assert decoded is None or str(decoded[1]) not in text
        answers.append(text.replace(f'"{id}"', '"the id"'))
    assert answers == [answers[0]] * len(wrong)
    if (call.of, call.name) not in SAME_FOR_ALL:
        answer = await ask(app, http, call, own, mine.tokens[Role.ADMIN])
        text = orjson.dumps(answer).decode().replace(own[place], "the id")
        assert text != answers[0], "what it answers is not about the id"
    assert await read_all(owner, foreign) == before


def test_each_id_of_the_schema_is_compared() -> None:
    """Of every field that takes ids, also in inputs within inputs, each id has a place."""
    found = {(call.of, call.name, place) for call, place in PLACES}
    assert len(found) == len(PLACES)
    assert {(of, name) for of, name, _ in found if of is not None} == {
        ("Hub", "backups"),
        ("Hub", "restores"),
        ("Hub", "events"),
        ("Hub", "storageDrift"),
        ("Container", "backups"),
        ("Container", "restores"),
        ("Container", "retentionPreview"),
        ("Backup", "restores"),
    }


async def read(http: httpx.AsyncClient, query: str, token: str, **variables: object) -> Any:
    response = await http.post(
        "/graphql",
        json={"query": query, "variables": variables},
        headers={"authorization": f"Bearer {token}"},
    )
    answer = response.json()
    answer["extensions"]["cost"].pop("left")
    return answer


@pytest.mark.parametrize("kind", NAMES)
async def test_no_node_of_another_hub_is_found(
    kind: str, mine: Scene, foreign: Scene, http: httpx.AsyncClient
) -> None:
    """By `node` and among `nodes`, of whatever type, whether it is there or not."""
    token = mine.tokens[Role.ADMIN]
    own, theirs = mine.ids[NAMES[kind]], foreign.ids[NAMES[kind]]
    nothing = encode_id(kind, uuid4())
    query = "query($id: ID!) { node(id: $id) { __typename id } }"
    assert await read(http, query, token, id=theirs) == await read(http, query, token, id=nothing)
    shown = {"__typename": kind, "id": own}
    assert (await read(http, query, token, id=own))["data"] == {"node": shown}
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
    ids = [theirs, own, nothing, "rubbish"]
    assert (await read(http, query, token, ids=ids))["data"] == {"nodes": [None, shown, None, None]}


def test_every_type_of_node_is_looked_for() -> None:
    assert {type_.name for type_ in find_nodes(SCHEMA)} == set(NAMES)


PAGES = [(None, "containers")] + [
    (type_.name, name)
    for type_ in find_nodes(SCHEMA)
    for name, field in type_.fields.items()
    if get_named_type(field.type).name.endswith("Connection")
]


def write_page(of: str | None, name: str, arguments: str) -> str:
    page = f"{name}({arguments}) {{ pageInfo {{ startCursor }} }}"
    head = "query($node: ID!, $cursor: String)" if "$" in arguments else "query($node: ID!)"
    if of is None:
        return f"{head} {{ page: {page} node(id: $node) {{ id }} }}"
    return f"{head} {{ node(id: $node) {{ ... on {of} {{ page: {page} }} }} }}"


@pytest.mark.parametrize(("of", "name"), PAGES)
async def test_a_cursor_of_another_hub_is_none(
    *, of: str | None, name: str, mine: Scene, foreign: Scene, http: httpx.AsyncClient
) -> None:
    """It is refused in the same words as what is no cursor at all."""
    object_ = NAMES[of] if of else "container"
    first = write_page(of, name, "first: 1")
    answer = await read(http, first, foreign.tokens[Role.ADMIN], node=foreign.ids[object_])
    assert "errors" not in answer
    data = answer["data"]["node"] if of else answer["data"]
    theirs = data["page"]["pageInfo"]["startCursor"]
    assert theirs is not None, "the scene has none of these"
    for direction, size in (("after", "first"), ("before", "last")):
        query = write_page(of, name, f"{size}: 1, {direction}: $cursor")
        answers = [
            await read(http, query, mine.tokens[Role.ADMIN], node=mine.ids[object_], cursor=cursor)
            for cursor in ("rubbish", theirs)
        ]
        assert answers[0] == answers[1]
        [error] = answers[0]["errors"]
        told = {"code": "BAD_USER_INPUT", "argument": direction, "limit": None}
        assert error["extensions"] == told


async def test_a_place_in_another_hubs_events_is_none(
    mine: Scene, foreign: Scene, app: Starlette, listening: ListenHub
) -> None:
    del listening
    query = "subscription($after: String) { hubEvents(after: $after) { event { id } } }"
    answers = []
    async with serve(app) as place, open_socket(place) as opened:
        await opened.init(mine.tokens[Role.ADMIN])
        for after in ("rubbish", foreign.ids["beginning"]):
            await opened.subscribe("1", query, after=after)
            answer = await opened.read()
            answer["payload"][0]["extensions"]["cost"].pop("left")  # It fills up by the minute.
            answers.append(answer)
    assert answers[0] == answers[1]
    assert answers[0]["type"] == "error"
