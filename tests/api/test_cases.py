"""A recorded case of every field: what it answers, and what it asks PostgreSQL for that.

`UPDATE_CASES=1 pytest tests/api/test_cases.py` records anew; the difference is to be read.
"""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import GraphQLObjectType, GraphQLSchema, OperationType, build_schema
from starlette.applications import Starlette

from app.postgres.listen import ListenHub
from tests.conftest import execute, name_database, run_apart
from tests.graphql_server import LoggedDatabase, serve
from tests.graphql_socket import open_socket
from tests.recorded_cases import CASES, Case, Coverage, find_cases, normalise, write_json, write_sql
from tests.scene import Scene, build_scene

ALL = find_cases()


@pytest.fixture(scope="session")
def staged(
    server_dsn: str, template: str, database_names: Iterator[str]
) -> Iterator[tuple[str, Scene]]:
    """The name of a database that holds the scene, for each case to copy."""
    name = next(database_names)
    run_apart(execute(server_dsn, f'create database "{name}" template "{template}"'))
    yield name, run_apart(build_scene(name_database(server_dsn, name)))
    run_apart(execute(server_dsn, f'drop database "{name}" with (force)'))


@pytest.fixture
def scene(staged: tuple[str, Scene]) -> Scene:
    return staged[1]


@pytest.fixture
async def dsn(
    server_dsn: str, staged: tuple[str, Scene], database_names: Iterator[str]
) -> AsyncIterator[str]:
    """The DSN of a database of the test's own that holds the scene."""
    name = next(database_names)
    copy = f'create database "{name}" template "{staged[0]}" strategy file_copy'
    await execute(server_dsn, copy)
    yield name_database(server_dsn, name)
    await execute(server_dsn, f'drop database "{name}" with (force)')


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema((Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8"))


async def post(app: Starlette, case: Case, scene: Scene) -> dict[str, Any]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        response = await client.post(
            "/graphql",
            json={"query": case.text, "variables": case.choose_variables(scene.ids)},
            headers={"authorization": f"Bearer {scene.tokens[case.key]}"},
        )
    answer: dict[str, Any] = response.json()
    return answer


async def follow(
    app: Starlette, case: Case, scene: Scene, *, other: Starlette
) -> list[dict[str, Any]]:
    """The events of a subscription, as many as the case waits for.

    `other`: the gateway at which the case's change is carried out.
    """
    events: list[dict[str, Any]] = []
    async with serve(app) as place, open_socket(place) as opened:
        await opened.init(scene.tokens[case.key])
        await opened.subscribe("1", case.text, **case.choose_variables(scene.ids))
        while len(events) != case.events:
            message = await opened.read()
            if message["type"] == "complete":
                break
            assert message["type"] == "next", message
            events.append(message["payload"])
            if case.change is not None and len(events) == 1:
                await post(other, case.change, scene)
    return events


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
async def test_the_case_answers_and_asks_what_was_recorded(
    *,
    case: Case,
    scene: Scene,
    app: Starlette,
    logged_app: Starlette,
    logged_database: LoggedDatabase,
    listening: ListenHub,
) -> None:
    del listening
    said = (
        await follow(logged_app, case, scene, other=app)
        if case.kind is OperationType.SUBSCRIPTION
        else await post(logged_app, case, scene)
    )
    answer = write_json(normalise(said, scene.names))
    sql = write_sql(logged_database.statements, case.kind)
    if os.environ.get("UPDATE_CASES"):
        case.path.with_suffix(".json").write_text(answer, encoding="utf-8")
        case.path.with_suffix(".sql").write_text(sql, encoding="utf-8")
    assert answer == case.path.with_suffix(".json").read_text(encoding="utf-8")
    assert sql == case.path.with_suffix(".sql").read_text(encoding="utf-8")


def test_each_field_has_a_case_that_shows_a_value_of_it(schema: GraphQLSchema) -> None:
    covered = {name for case in ALL for name in Coverage(schema, case).find()}
    fields = {
        f"{type_.name}.{name}"
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__")
        for name in type_.fields
    }
    assert sorted(fields - covered) == []


def test_no_recording_is_left_of_a_case_that_is_gone() -> None:
    names = {case.name for case in ALL}
    assert {path.stem for path in CASES.iterdir()} == names
