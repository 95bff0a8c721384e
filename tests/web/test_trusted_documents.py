"""Trusted documents: named by an id over every transport, and all that is taken where it is so."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from app.api.context import Parts
from app.api.trusted_documents import TrustedDocuments
from app.cli import documents as cli
from app.errors import StartError
from app.settings import Settings
from app.web.app import create_app
from app.wiring.trusted_documents import make_trusted_documents
from tests.graphql_server import Client, serve
from tests.graphql_socket import open_socket

NAME = "query Name { viewer { name } }"
MAKE = 'mutation { createContainer(identifier: "db", stateful: true) { errors { code } } }'
BOTH = "query A { viewer { name } } query B($x: Int) { containers(first: $x) { totalCount } }"
FOLLOW = "subscription($id: ID!) { backupProgress(backupId: $id) { id } }"
FREE = "{ viewer { name } }"
RESPONSE_JSON = "application/graphql-response+json"
LIST = {"name": NAME, "x-mine:make.1": MAKE, "both": BOTH, "follow": FOLLOW}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Trusting:
    """A gateway with the list, strict or not."""

    def __init__(self, client: Client, http: httpx.AsyncClient, place: str) -> None:
        self.client = client
        self.http = http
        self.place = place
        self.headers = {"authorization": f"Bearer {client.token}"}

    async def post(self, accept: str = RESPONSE_JSON, **body: Any) -> httpx.Response:
        headers = {**self.headers, "accept": accept}
        return await self.http.post("/graphql", json=body, headers=headers)

    async def get(self, accept: str = RESPONSE_JSON, **parameters: str) -> httpx.Response:
        headers = {**self.headers, "accept": accept}
        return await self.http.get("/graphql", params=parameters, headers=headers)

    async def stream(self, **body: Any) -> list[dict[str, Any]]:
        response = await self.post("text/event-stream", **body)
        assert response.status_code == 200
        *events, last, end = response.text.split("\n\n")
        assert (last, end) == ("event: complete\ndata:", "")
        found = [event.partition("data: ")[2] for event in events if event != ":"]
        return [json.loads(event) for event in found]

    async def socket(self, **payload: Any) -> dict[str, Any]:
        """The first answer over a socket; the socket goes on whatever it is."""
        async with open_socket(self.place) as opened:
            await opened.init(self.client.token)
            await opened.send({"type": "subscribe", "id": "1", "payload": payload})
            answer = await opened.read()
            if answer["type"] == "next":
                assert await opened.read() == {"type": "complete", "id": "1"}
            assert await opened.exchange({"type": "ping"}) == {"type": "pong"}
        return answer


@asynccontextmanager
async def trusting(parts: Parts, client: Client, *, only: bool) -> AsyncIterator[Trusting]:
    app = create_app(parts, trusted=TrustedDocuments(LIST, only=only))
    async with (
        serve(app) as place,
        httpx.AsyncClient(base_url=f"http://{place}", trust_env=False) as http,
    ):
        yield Trusting(client, http, place)


@pytest.fixture(params=[False, True], ids=["open", "strict"])
async def either(
    parts: Parts, admin: Client, request: pytest.FixtureRequest
) -> AsyncIterator[Trusting]:
    async with trusting(parts, admin, only=request.param) as found:
        yield found


@pytest.fixture
async def strict(parts: Parts, admin: Client) -> AsyncIterator[Trusting]:
    async with trusting(parts, admin, only=True) as found:
        yield found


def code_of(body: dict[str, Any]) -> str:
    assert "data" not in body
    [error] = body["errors"]
    code: str = error["extensions"]["code"]
    return code


async def test_a_document_is_named_by_its_id_or_by_its_hash_over_every_transport(
    either: Trusting,
) -> None:
    answer = {"viewer": {"name": either.client.principal.name}}
    for id in ("name", f"sha256:{sha(NAME)}"):
        assert (await either.post(documentId=id)).json()["data"] == answer
        assert (await either.get(documentId=id)).json()["data"] == answer
        # A browser's address bar.
        page = await either.get("text/html,*/*;q=0.8", documentId=id)
        assert page.json()["data"] == answer
        assert [event["data"] for event in await either.stream(documentId=id)] == [answer]
        assert (await either.socket(documentId=id))["payload"]["data"] == answer
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": sha(NAME)}}
    assert (await either.post(extensions=extensions)).json()["data"] == answer
    assert (await either.get(extensions=json.dumps(extensions))).json()["data"] == answer
    assert (await either.socket(extensions=extensions))["payload"]["data"] == answer


async def test_variables_and_the_operations_name_go_with_the_id(either: Trusting) -> None:
    for give in (either.post, either.get):
        many: Any = {"x": 5} if give == either.post else '{"x": 5}'
        found = await give(documentId="both", operationName="B", variables=many)
        assert found.json()["data"] == {"containers": {"totalCount": 0}}
    assert code_of((await either.post(documentId="both")).json()) == "BAD_USER_INPUT"
    wrong = await either.post(documentId="both", operationName="B", variables={"x": 101})
    assert wrong.json()["errors"][0]["extensions"]["limit"] == 100


async def test_a_trusted_mutation_is_not_sent_by_get(either: Trusting) -> None:
    refused = await either.get(documentId="x-mine:make.1")
    assert (refused.status_code, code_of(refused.json())) == (405, "METHOD_NOT_ALLOWED")
    made = await either.post(documentId="x-mine:make.1")
    assert made.json()["data"] == {"createContainer": {"errors": []}}


async def test_a_trusted_subscription_is_followed(either: Trusting) -> None:
    variables = {"id": "nothing"}
    refused = await either.socket(documentId="follow", variables=variables)
    assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == ("error", "NOT_FOUND")
    [event] = await either.stream(documentId="follow", variables=variables)
    assert code_of(event) == "NOT_FOUND"


@pytest.mark.parametrize("id", ["nothing", "sha256:" + "0" * 64, f"SHA256:{sha(NAME)}", "é\0"])
async def test_an_id_that_is_not_on_the_list_is_told_over_every_transport(
    either: Trusting, id: str
) -> None:
    for media, status in ((RESPONSE_JSON, 400), ("application/json", 200)):
        for refused in (
            await either.post(media, documentId=id),
            await either.get(media, documentId=id),
        ):
            assert (refused.status_code, code_of(refused.json())) == (status, "DOCUMENT_NOT_FOUND")
            assert id not in refused.text
    [event] = await either.stream(documentId=id)
    assert code_of(event) == "DOCUMENT_NOT_FOUND"
    answer = await either.socket(documentId=id)
    assert answer["type"] == "error"
    extensions = answer["payload"][0]["extensions"]
    assert extensions.pop("cost")["requested"] == 1
    assert extensions == {"code": "DOCUMENT_NOT_FOUND"}


async def test_a_hash_that_is_not_on_the_list_is_told_as_apollos_clients_know_it(
    either: Trusting,
) -> None:
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": sha(FREE)}}
    [error] = (await either.post(extensions=extensions)).json()["errors"]
    assert error["message"] == "PersistedQueryNotFound"
    assert error["extensions"] == {"code": "PERSISTED_QUERY_NOT_FOUND"}
    # Then they send both; that adds nothing to the list.
    both = await either.post(query=FREE, extensions=extensions)
    again = (await either.post(extensions=extensions)).json()
    assert code_of(again) == "PERSISTED_QUERY_NOT_FOUND"
    if both.status_code != 200:
        assert code_of(both.json()) == "DOCUMENT_NOT_TRUSTED"


@pytest.mark.parametrize(
    "body",
    [
        {"documentId": 5},
        {"documentId": ""},
        {"documentId": " "},
        {"documentId": ["name"]},
        {"documentId": "name", "query": NAME},
        {"documentId": None},
        {"query": None},
        {"extensions": {"persistedQuery": 5}},
        {"extensions": {"persistedQuery": {"version": 2, "sha256Hash": sha(NAME)}}},
        {"extensions": {"persistedQuery": {"version": 1}}},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "x"}}},
        {"query": NAME, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}},
    ],
    ids=range(12),
)
async def test_what_names_no_document_or_two_is_no_request(
    either: Trusting, body: dict[str, Any]
) -> None:
    refused = await either.post(**body)
    assert (refused.status_code, code_of(refused.json())) == (400, "BAD_REQUEST")
    answer = await either.socket(**body)
    assert answer["payload"][0]["extensions"] == {"code": "BAD_REQUEST"}


async def test_nobody_without_a_key_learns_what_is_on_the_list(either: Trusting) -> None:
    for id in ("name", "nothing"):
        refused = await either.http.post("/graphql", json={"documentId": id})
        assert (refused.status_code, code_of(refused.json())) == (401, "UNAUTHENTICATED")


async def test_without_a_list_no_id_is_known(admin: Client) -> None:
    headers = {"authorization": f"Bearer {admin.token}"}
    refused = await admin.http.post("/graphql", json={"documentId": "name"}, headers=headers)
    assert code_of(refused.json()) == "DOCUMENT_NOT_FOUND"


@pytest.mark.parametrize(
    "query", [FREE, NAME + " ", "{", "{ __schema { description } }", MAKE.replace("db", "da")]
)
async def test_nothing_else_is_taken_in_strict_mode_over_any_transport(
    strict: Trusting, query: str
) -> None:
    for media, status in ((RESPONSE_JSON, 400), ("application/json", 200)):
        for refused in (
            await strict.post(media, query=query),
            await strict.get(media, query=query),
        ):
            assert (refused.status_code, code_of(refused.json())) == (
                status,
                "DOCUMENT_NOT_TRUSTED",
            )
    [event] = await strict.stream(query=query)
    assert code_of(event) == "DOCUMENT_NOT_TRUSTED"
    answer = await strict.socket(query=query)
    assert (answer["type"], answer["payload"][0]["extensions"]["code"]) == (
        "error",
        "DOCUMENT_NOT_TRUSTED",
    )
    assert (await strict.client.ask("{ containers { totalCount } }"))["containers"] == {
        "totalCount": 0
    }


async def test_the_exact_text_of_a_trusted_document_is_taken_in_strict_mode(
    strict: Trusting,
) -> None:
    answer = {"viewer": {"name": strict.client.principal.name}}
    assert (await strict.post(query=NAME)).json()["data"] == answer
    assert (await strict.socket(query=NAME))["payload"]["data"] == answer


async def test_there_is_no_graphiql_in_strict_mode(strict: Trusting, parts: Parts) -> None:
    refused = await strict.http.get("/graphql", headers={"accept": "text/html,*/*;q=0.8"})
    assert (refused.status_code, code_of(refused.json())) == (403, "DOCUMENT_NOT_TRUSTED")
    assert "there is no GraphiQL here" in refused.json()["errors"][0]["message"]
    async with trusting(parts, strict.client, only=False) as open_one:
        page = await open_one.http.get("/graphql", headers={"accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"


# --- the file ---------------------------------------------------------------------------------


def read_list(tmp_path: Path, content: str | bytes, *, only: bool = False) -> TrustedDocuments:
    path = tmp_path / "trusted.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return make_trusted_documents(Settings(trusted_documents=path, trusted_only=only))


def test_the_file_is_an_object_of_ids_and_documents(tmp_path: Path) -> None:
    ids = {f"sha256:{sha(NAME)}": NAME, "d41d8cd98f00b204e9800998ecf8427e": BOTH}
    read = read_list(tmp_path, json.dumps(ids), only=True)
    assert read.only
    assert read.find(f"sha256:{sha(BOTH)}") == BOTH
    assert [read.find(id) for id in ids] == [NAME, BOTH]


def test_the_documents_of_the_command_line_are_always_on_a_list(tmp_path: Path) -> None:
    read = read_list(tmp_path, "{}", only=True)
    for text in cli.ALL:
        read.check(text)
        assert read.find(f"sha256:{sha(text)}") == text
    sent = {text for name, text in vars(cli).items() if name.isupper() and isinstance(text, str)}
    parts = {
        cli.BACKUP,
        cli.RESTORE,
        cli.VERIFICATION,
        cli.CONTAINER,
        cli._LOGS,
        cli._ERRORS,
        cli._SCANS,
    }
    assert sent - parts == set(cli.ALL)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "is not JSON"),
        (b"\xff", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object of ids and documents"),
        ('{"a": 5}', "is not a JSON object of ids and documents"),
        ('{"a": "{ b }", "a": "{ c }"}', "an id is there twice"),
        (
            json.dumps({"sha256:" + "0" * 64: NAME}),
            f"not the SHA-256 of its document, sha256:{sha(NAME)}",
        ),
        (json.dumps({f"sha256:{sha(NAME).upper()}": NAME}), "is no id"),
        ('{"mine:a": "{ b }"}', "is no id"),
        ('{"": "{ b }"}', "is no id"),
        ('{"a b": "{ b }"}', "is no id"),
        (json.dumps({"a" * 201: NAME}), "is no id"),
        ('{"a": "{"}', "'a' is no GraphQL document: Syntax Error"),
    ],
    ids=range(13),
)
def test_a_wrong_file_stops_the_start_with_the_reason(
    tmp_path: Path, content: str | bytes, fault: str
) -> None:
    with pytest.raises(StartError) as error:
        read_list(tmp_path, content)
    assert error.value.message.startswith("BACKUP_GATEWAY_TRUSTED_DOCUMENTS: ")
    assert fault in error.value.message


def test_every_fault_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(StartError) as error:
        read_list(tmp_path, '{"a b": "{ b }", "c": "}", "d": "{ b }"}')
    assert len(error.value.message.splitlines()) == 3


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be read: No such file or directory"):
        make_trusted_documents(Settings(trusted_documents=tmp_path / "none"))


def test_a_document_that_does_not_fit_the_schema_is_warned_of_and_kept(tmp_path: Path) -> None:
    structlog.reset_defaults()
    with capture_logs() as logs:
        read = read_list(tmp_path, json.dumps({"old": "{ nothing }", "new": FREE}))
    assert [(entry["document"], entry["log_level"]) for entry in logs] == [("old", "warning")]
    assert read.find("old") == "{ nothing }"


def test_strict_mode_needs_a_list() -> None:
    with pytest.raises(ValueError, match="needs BACKUP_GATEWAY_TRUSTED_DOCUMENTS"):
        Settings(trusted_only=True)
