"""Limits of requests over HTTP: each is told, and each can be set."""

import time
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
    app = create_app(parts, limits=Limits(points_per_minute=9))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        client, other = replace(client, http=http), replace(other, http=http)
        assert (await send(client, {"query": NAME})).status_code == 200
        refused = await send(client, {"query": NAME})
        assert (await send(other, {"query": NAME})).status_code == 200
    [error] = refused.json()["errors"]
    assert (refused.status_code, error["extensions"]["code"]) == (429, "RATE_LIMIT")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert (error["extensions"]["limit"], error["extensions"]["actual"]) == (9, 6)


@pytest.mark.parametrize(
    ("query", "cost", "code"),
    [
        ("{ viewer { name }", 5, "PARSE_FAILED"),
        ("{ viewer { name nothing } }", 7, "VALIDATION_FAILED"),
        ("{ viewer { nothing(of: 1) } }", 11, "VALIDATION_FAILED"),
        ("{ " + "a " * 1500 + "}", 1000, "TOKENS_LIMIT"),
        ("{ a }" + " " * 128_000, 2000, "VALIDATION_FAILED"),
        ("", 1, "BAD_REQUEST"),
    ],
    ids=["no document", "unknown field", "unknown argument", "tokens", "blanks", "empty"],
)
async def test_a_refused_document_costs_what_it_takes_to_read_it(
    *, parts: Parts, client_as: ClientAs, query: str, cost: int, code: str
) -> None:
    """It tells so itself. What the account gains meanwhile is no part of it."""
    client = await client_as(Role.VIEWER)
    app = create_app(parts, limits=Limits(points_per_minute=10_000))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        client = replace(client, http=http)
        begun = time.monotonic()
        refused = await send(client, {"query": query})
        assert code_of(refused) == code
        told = refused.json().get("extensions", {}).get("cost", {})
        left = (await client.post(NAME))["extensions"]["cost"]["left"]
        gained = (time.monotonic() - begun) * 10_000 / 60
    expected = 10_000 - (0 if code == "BAD_REQUEST" else cost) - 6
    assert expected <= left <= expected + gained + 1
    if code != "BAD_REQUEST":
        assert told == {
            "requested": cost,
            "limit": 50_000,
            "left": 10_000 - cost,
            "perMinute": 10_000,
        }


async def test_who_has_no_point_left_gets_429_before_anything_is_parsed(
    parts: Parts, client_as: ClientAs
) -> None:
    client = await client_as(Role.VIEWER)
    app = create_app(parts, limits=Limits(points_per_minute=3))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        client = replace(client, http=http)
        assert code_of(await send(client, {"query": "{ nothing here"})) == "PARSE_FAILED"
        for query in ("{ nothing here", "{ nothing }", NAME):
            refused = await send(client, {"query": query})
            assert (refused.status_code, code_of(refused)) == (429, "RATE_LIMIT")
            assert 1 <= int(refused.headers["retry-after"]) <= 120


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
    assert response.json() == {
        "errors": [
            {
                "message": "The request has 2 levels of depth; the limit is 1.",
                "extensions": {"code": "DEPTH_LIMIT", "limit": 1, "actual": 2},
            }
        ],
        "extensions": {
            "cost": {
                "requested": 6,
                "limit": 50_000,
                "left": 1_000_000 - 6,
                "perMinute": 1_000_000,
            }
        },
    }


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
