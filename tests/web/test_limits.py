"""Limits of requests over HTTP: each is told, and each can be set."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from app.api.context import Parts
from app.api.limits import Limits
from app.model.access import Role
from app.web.app import create_app
from tests.graphql_server import Client, ClientAs, serve
from tests.graphql_socket import open_socket

NAME = "{ viewer { name } }"


async def send(client: Client, body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {client.token}"}
    return await client.http.post("/graphql", json=body, headers=headers)


def code_of(response: httpx.Response) -> str:
    [error] = response.json()["errors"]
    code: str = error["extensions"]["code"]
    return code


async def test_an_answer_tells_what_it_costs(admin: Client) -> None:
    query = "query($n: Int) { containers(first: $n) { nodes { id name } totalCount } }"
    answer = await admin.post(query, {"n": 7})
    assert answer["extensions"] == {
        "cost": {
            "requested": 1 + 7 * 4,
            "limit": 50_000,
            "left": 1_000_000 - 29,
            "perMinute": 1_000_000,
        }
    }


async def test_a_key_that_has_spent_its_rate_gets_429(parts: Parts, client_as: ClientAs) -> None:
    client, other = await client_as(Role.VIEWER), await client_as(Role.VIEWER)
    app = create_app(parts, limits=Limits(points_per_minute=3))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        client, other = replace(client, http=http), replace(other, http=http)
        assert (await send(client, {"query": NAME})).status_code == 200
        refused = await send(client, {"query": NAME})
        assert (await send(other, {"query": NAME})).status_code == 200
    [error] = refused.json()["errors"]
    assert (refused.status_code, error["extensions"]["code"]) == (429, "RATE_LIMIT")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert (error["extensions"]["limit"], error["extensions"]["actual"]) == (3, 2)


async def test_introspection_can_be_switched_off(parts: Parts, client_as: ClientAs) -> None:
    client = await client_as(Role.VIEWER)
    app = create_app(parts, limits=Limits(introspection=False))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        for query in ("{ __schema { description } }", '{ __type(name: "Hub") { name } }'):
            response = await send(replace(client, http=http), {"query": query})
            assert code_of(response) == "INTROSPECTION_DISABLED"
        response = await send(replace(client, http=http), {"query": "{ __typename }"})
    assert response.json()["data"] == {"__typename": "Query"}


async def test_limits_can_be_changed(parts: Parts, client_as: ClientAs) -> None:
    client = await client_as(Role.VIEWER)
    app = create_app(parts, limits=Limits(depth=1))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        response = await send(replace(client, http=http), {"query": NAME})
    assert response.json()["errors"] == [
        {
            "message": "The request has 2 levels of depth; the limit is 1.",
            "extensions": {"code": "DEPTH_LIMIT", "limit": 1, "actual": 2},
        }
    ]


@pytest.mark.parametrize(
    "query",
    [
        '{ containers(filter: {identifier: """a\0"""}) { nodes { id } } }',
        "{ containers(first: " + "9" * 5000 + ") { nodes { id } } }",
    ],
)
async def test_what_no_database_or_number_can_hold_is_the_clients_error(
    app: Starlette, admin: Client, query: str
) -> None:
    response = await send(admin, {"query": query})
    assert code_of(response) == "BAD_USER_INPUT"
    async with serve(app) as place, open_socket(place) as opened:
        await opened.init(admin.token)
        await opened.subscribe("1", query)
        answer = await opened.read()
    assert (answer["type"], answer["payload"][0]["extensions"]["code"]) == (
        "error",
        "BAD_USER_INPUT",
    )
