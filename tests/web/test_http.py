"""GraphQL over HTTP: what a client meets, by the published spec."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
from starlette.routing import Route

from app.api.context import Parts
from app.postgres.pool import Database
from app.web.app import create_app
from tests.graphql_server import Client

RESPONSE_JSON = "application/graphql-response+json"
PLAIN_JSON = "application/json"
NAME = "{ viewer { name } }"


def headers(client: Client, **more: str) -> dict[str, str]:
    given = {name.replace("_", "-"): value for name, value in more.items()}
    return {"authorization": f"Bearer {client.token}", "content-type": PLAIN_JSON, **given}


async def send(client: Client, body: Any, **more: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return await client.http.post("/graphql", content=content, headers=headers(client, **more))


def code_of(response: httpx.Response) -> str:
    [error] = response.json()["errors"]
    code: str = error["extensions"]["code"]
    return code


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", PLAIN_JSON),
        ("*/*", PLAIN_JSON),
        ("application/*", PLAIN_JSON),
        (PLAIN_JSON, PLAIN_JSON),
        (RESPONSE_JSON, RESPONSE_JSON),
        (f"{RESPONSE_JSON}, {PLAIN_JSON};q=0.9", RESPONSE_JSON),
        (f"{PLAIN_JSON}, {RESPONSE_JSON};q=0.9", PLAIN_JSON),
        (f"text/html, {RESPONSE_JSON}", RESPONSE_JSON),
    ],
)
async def test_the_client_chooses_the_media_type(admin: Client, accept: str, media: str) -> None:
    response = await send(admin, {"query": NAME}, accept=accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{media}; charset=utf-8"
    assert "Accept" in response.headers["vary"].split(", ")
    assert response.json()["data"] == {"viewer": {"name": admin.principal.name}}


@pytest.mark.parametrize("accept", ["text/plain", "image/*", f"{PLAIN_JSON};q=0", "nonsense"])
async def test_a_client_that_takes_no_json_gets_406(admin: Client, accept: str) -> None:
    response = await send(admin, {"query": NAME}, accept=accept)
    assert (response.status_code, code_of(response)) == (406, "NOT_ACCEPTABLE")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "PARSE_FAILED"),
        ("{ nope }", "VALIDATION_FAILED"),
        ("query($x: Int!) { containers(first: $x) { totalCount } }", "BAD_USER_INPUT"),
        ("fragment F on Query { viewer { name } }", "BAD_USER_INPUT"),
        ("query A { viewer { name } } query B { viewer { name } }", "BAD_USER_INPUT"),
    ],
    ids=["syntax", "field", "variable", "nothing", "several"],
)
async def test_a_request_that_is_wrong_is_400_or_200_by_media_type(
    admin: Client, query: str, code: str
) -> None:
    for media, status in ((RESPONSE_JSON, 400), (PLAIN_JSON, 200)):
        response = await send(admin, {"query": query}, accept=media)
        assert (response.status_code, code_of(response)) == (status, code)
        assert "data" not in response.json()


async def test_an_error_of_a_field_is_200_with_data(admin: Client) -> None:
    query = "{ viewer { name } containers(first: 0) { totalCount } }"
    response = await send(admin, {"query": query}, accept=RESPONSE_JSON)
    assert response.status_code == 200
    assert response.json()["data"] is None
    assert response.json()["errors"][0]["path"] == ["containers"]


@pytest.mark.parametrize(
    "body",
    [
        b'"x"',
        b"12",
        b"null",
        b"true",
        b"{}",
        b"",
        b"\xff\xfe",
        b'{"query": "{ viewer { name } }", "variables": []}',
        b'{"query": "{ viewer { name } }", "variables": NaN}',
        b'{"query": "{ viewer { name } }", "operationName": 5}',
        b'{"query": "{ viewer { name } }", "extensions": 5}',
        b'{"query": 5}',
        b'{"query": ""}',
        b"[" * 100_000,
        b'{"query": "\\ud800"}',
        b"1" * 5000,
    ],
    ids=range(16),
)
async def test_what_is_no_request_is_400(admin: Client, body: bytes) -> None:
    response = await send(admin, body)
    assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")


async def test_several_operations_in_one_body_are_not_taken(admin: Client) -> None:
    response = await send(admin, [{"query": NAME}])
    assert (response.status_code, code_of(response)) == (400, "BATCHING_DISABLED")


async def test_the_operation_name_chooses(admin: Client) -> None:
    query = "query A { viewer { name } } query B { hub { name } }"
    response = await send(admin, {"query": query, "operationName": "B"})
    assert response.json()["data"] == {"hub": {"name": admin.hub.name}}
    response = await send(admin, {"query": NAME, "operationName": ""})
    assert response.json()["data"] == {"viewer": {"name": admin.principal.name}}
    response = await send(admin, {"query": query, "operationName": "C"})
    assert code_of(response) == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/jsonfoo",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin1",
        "",
    ],
)
async def test_other_content_types_get_415(admin: Client, content_type: str) -> None:
    response = await send(admin, {"query": NAME}, content_type=content_type)
    assert (response.status_code, code_of(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_charset_of_utf_8_may_be_named(admin: Client) -> None:
    response = await send(admin, {"query": NAME}, content_type='application/json; charset="UTF-8"')
    assert response.status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
async def test_other_methods_get_405(admin: Client, method: str) -> None:
    response = await admin.http.request(method, "/graphql", headers=headers(admin))
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"


async def test_a_body_over_the_limit_gets_413(admin: Client) -> None:
    response = await send(admin, {"query": NAME + " " * 300_000})
    assert response.status_code == 413
    assert response.json()["errors"][0]["extensions"] == {
        "code": "BODY_LIMIT",
        "limit": 262144,
        "actual": len(orjson.dumps({"query": NAME})) + 300_000,
    }


async def test_queries_can_be_sent_by_get(admin: Client) -> None:
    parameters = {
        "query": "query A($f: ContainerFilter) { containers(filter: $f) { totalCount } }",
        "variables": '{"f": {"identifier": "x"}}',
        "operationName": "A",
    }
    response = await admin.http.get("/graphql", params=parameters, headers=headers(admin))
    assert response.json()["data"] == {"containers": {"totalCount": 0}}
    bad = await admin.http.get(
        "/graphql", params={**parameters, "variables": "{"}, headers=headers(admin)
    )
    assert (bad.status_code, code_of(bad)) == (400, "BAD_REQUEST")


async def test_a_mutation_is_not_sent_by_get(admin: Client) -> None:
    query = 'mutation { createContainer(identifier: "x", stateful: true) { errors { code } } }'
    response = await admin.http.get("/graphql", params={"query": query}, headers=headers(admin))
    assert (response.status_code, code_of(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "POST"
    assert (await admin.ask("{ containers { totalCount } }"))["containers"]["totalCount"] == 0


async def test_a_subscription_needs_a_socket(admin: Client) -> None:
    response = await send(
        admin, {"query": 'subscription { restoreProgress(restoreId: "x") { id } }'}
    )
    assert (response.status_code, code_of(response)) == (400, "SUBSCRIPTION_NEEDS_STREAM")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "Bearer nonsense",
        "Bearer bg_00000000_0000000000000000000000000000000000000000000",
    ],
)
async def test_no_key_or_a_bad_one_gets_401(http: httpx.AsyncClient, value: str | None) -> None:
    given = {} if value is None else {"authorization": value}
    response = await http.post("/graphql", json={"query": NAME}, headers=given)
    assert (response.status_code, code_of(response)) == (401, "UNAUTHENTICATED")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_browser_gets_a_page_without_a_key(http: httpx.AsyncClient) -> None:
    response = await http.get("/graphql", headers={"accept": "text/html,*/*;q=0.8"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "graphiql" in response.text.lower()
    bare = await http.get("/graphql", headers={"accept": "*/*"})
    assert bare.status_code == 401


async def test_names_are_not_suggested(admin: Client) -> None:
    for query in (
        "{ viewe { name } }",
        "{ containers(firs: 1) { totalCount } }",
        "query($x: ContainrFilter) { containers(filter: $x) { totalCount } }",
        "{ containers(orderBy: NEWEST) { totalCount } }",
        "{ viewer { ... on Viewr { name } } }",
        "{ containers { nodes } }",
    ):
        for error in await admin.fail(query):
            assert "Did you mean" not in error["message"]
            assert error["extensions"]["code"] == "VALIDATION_FAILED"


async def test_a_defect_is_masked_and_has_a_reference(
    admin: Client, parts: Parts, gateway_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Database):
        def connection(self, hub_id=None):
            if hub_id is None:
                return gateway_database.connection(hub_id)
            key = "a-local-secret"
            raise RuntimeError(f"select {len(key)} from somewhere")

    broken = Broken(parts.database.dsn, role=None, application_name="x", min_size=0, max_size=1)
    app = create_app(replace(parts, database=broken))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        answer = await replace(admin, http=http).post("{ containers { totalCount } }")
    [error] = answer["errors"]
    assert error["extensions"]["code"] == "INTERNAL"
    assert "somewhere" not in str(answer)
    printed = capsys.readouterr()
    log = printed.out + printed.err
    assert error["extensions"]["reference"] in log
    assert "select 14 from somewhere" in log
    assert "a-local-secret" not in log.replace('key = "a-local-secret"', "")


async def test_a_database_that_is_down_is_503(admin: Client, parts: Parts, owner: Database) -> None:
    async with Database.open(owner.dsn, role=None, min_size=0) as closed:
        pass
    app = create_app(replace(parts, database=closed))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        response = await send(replace(admin, http=http), {"query": NAME})
        ready = await http.get("/readyz")
        alive = await http.get("/healthz")
    assert (response.status_code, code_of(response)) == (503, "DATABASE_UNAVAILABLE")
    assert response.headers["retry-after"] == "1"
    assert (ready.status_code, ready.json()["reason"]) == (503, "The database cannot be reached.")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})


async def test_the_gateway_is_ready_once_notifications_arrive(
    http: httpx.AsyncClient, listening: object
) -> None:
    del listening
    response = await http.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


async def test_the_gateway_is_not_ready_without_notifications(http: httpx.AsyncClient) -> None:
    response = await http.get("/readyz")
    assert (response.status_code, response.json()["reason"]) == (
        503,
        "The database's notifications do not arrive.",
    )


class Slow(Database):
    """Lends a hub's connections only when told to, and says when somebody waits."""

    waits: asyncio.Event
    ended: asyncio.Event

    def connection(self, hub_id=None):
        return super().connection(hub_id) if hub_id is None else self

    async def __aenter__(self):
        self.waits.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def __aexit__(self, *_: object) -> None: ...


def make_slow(parts: Parts) -> tuple[Parts, Slow]:
    slow = Slow(
        parts.database.dsn,
        role=parts.database.role,
        application_name="slow",
        min_size=0,
        max_size=2,
    )
    slow.waits, slow.ended = asyncio.Event(), asyncio.Event()
    return replace(parts, database=slow), slow


async def test_an_operation_has_a_deadline(admin: Client, parts: Parts) -> None:
    slow_parts, slow = make_slow(parts)
    app = create_app(slow_parts, deadline_seconds=0.05)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        response = await send(replace(admin, http=http), {"query": "{ containers { totalCount } }"})
    assert response.status_code == 503
    assert response.json()["errors"][0]["extensions"] == {"code": "TIME_LIMIT", "limit": 0.05}
    assert slow.ended.is_set()
    await slow.aclose()


async def test_an_operation_ends_when_its_client_goes(admin: Client, parts: Parts) -> None:
    slow_parts, slow = make_slow(parts)
    app = create_app(slow_parts)
    body = orjson.dumps({"query": "{ containers { totalCount } }"})
    sent: list[Any] = []
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await slow.waits.wait()
        return {"type": "http.disconnect"}

    async def keep(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers(admin).items()],
    }
    await app(scope, receive, keep)
    assert slow.ended.is_set()
    assert sent == []
    await slow.aclose()


async def test_other_origins_must_be_allowed(http: httpx.AsyncClient) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    friend = await http.options("/graphql", headers={"origin": "https://friend.example", **asked})
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    stranger = await http.options("/graphql", headers={"origin": "https://evil.example", **asked})
    assert stranger.status_code == 400
    assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "NOT_FOUND"),
        ("POST", "/healthz", 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_where_nothing_is_the_refusal_is_json_too(
    admin: Client, method: str, path: str, status: int, code: str
) -> None:
    response = await admin.http.request(method, path)
    assert (response.status_code, code_of(response)) == (status, code)


async def test_who_waits_too_long_for_a_turn_gives_it_up(parts: Parts, admin: Client) -> None:
    app = create_app(parts, deadline_seconds=0.2)
    [operations] = [
        route.endpoint._operations
        for route in app.routes
        if isinstance(route, Route) and route.path == "/graphql"
    ]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        mine = replace(admin, http=http)
        async with operations._turns.take(admin.principal.key_id):
            late = await send(mine, {"query": NAME})
        assert (late.status_code, code_of(late)) == (503, "TIME_LIMIT")
        # The line is free once others had as long as the turn took.
        async with asyncio.timeout(10):
            while (await send(mine, {"query": NAME})).status_code != 200:
                pass
