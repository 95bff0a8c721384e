"""Follow a run: each change of it until it ended, from the subscription or else by polling."""

import json
import time
from collections.abc import Iterator
from http import HTTPStatus

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    WebSocketException,
)
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.cli import documents
from app.cli.client import Client, Json, translate
from app.errors import GatewayUnreachable, KeyRejected

PROTOCOL = Subprotocol("graphql-transport-ws")
POLL_SECONDS = 0.5
PATIENCE = 60.0
"""Seconds without the gateway before following is given up; the run itself goes on."""
ANSWER_SECONDS = 10.0
SILENCE_SECONDS = 15.0
"""A socket that is silent for so long is asked by a query whether the run ended meanwhile."""
SOCKET_TRIES = 4
UNAUTHORISED = frozenset({4401, 4403})
PASSING = frozenset({429, 502, 503, 504})
ENDED = frozenset(
    {"LIVE", "SUCCEEDED", "PASSED", "FAILED", "CANCELED", "SKIPPED", "DELETING", "DELETED"}
)


class SocketUnusable(Exception):
    """There is no such subscription here, or a proxy lets no socket through: poll instead."""


def follow_backup(client: Client, identifier: str) -> Iterator[Json]:
    """Give the backup now and after each change, until it ended."""
    return poll(client, documents.SHOW_BACKUP, "backup", identifier)


def follow_verification(client: Client, identifier: str) -> Iterator[Json]:
    """Give the verification now and after each change, until it ended."""
    return poll(client, documents.SHOW_VERIFICATION, "node", identifier)


def follow_restore(client: Client, identifier: str) -> Iterator[Json]:
    """Give the restore now and after each change, until it ended.

    A lost socket is opened again: the server sends the current state first, so nothing is lost.
    Raises KeyRejected, RequestRefused, or GatewayUnreachable after a minute without the gateway.
    """
    failures = 0
    while failures < SOCKET_TRIES:
        try:
            for restore in subscribe(client, identifier):
                failures = 0
                yield restore
                if restore["state"] in ENDED:
                    return
            break  # completed without an end: a query tells
        except SocketUnusable:
            break
        except (WebSocketException, OSError, EOFError):
            failures += 1
            time.sleep(0.2 * 2**failures)
    yield from poll(client, documents.SHOW_RESTORE, "restore", identifier)


def poll(client: Client, document: str, field: str, identifier: str) -> Iterator[Json]:
    """Ask again and again; gives only what changed."""
    last: Json | None = None
    seen = time.monotonic()
    while True:
        try:
            run = client.execute(document, {"id": identifier})[field]
        except GatewayUnreachable:
            if time.monotonic() - seen > PATIENCE:
                raise
        else:
            seen = time.monotonic()
            if run is None:
                raise GatewayUnreachable(f"The gateway does not know {identifier} any more.")
            if run != last:
                last = run
                yield run
            if run["state"] in ENDED:
                return
        time.sleep(POLL_SECONDS)


def subscribe(client: Client, identifier: str) -> Iterator[Json]:
    """Speak graphql-transport-ws for one subscription, on a socket of its own."""
    authorization = f"Bearer {client.credentials.token}"
    try:
        socket = connect(
            client.credentials.socket_url,
            subprotocols=[PROTOCOL],
            additional_headers={"Authorization": authorization},
            proxy=True if client.credentials.through_proxy else None,
            open_timeout=ANSWER_SECONDS,
            close_timeout=1,
        )
    except InvalidStatus as error:
        if error.response.status_code == HTTPStatus.UNAUTHORIZED:
            raise KeyRejected from None
        if error.response.status_code in PASSING:
            raise
        raise SocketUnusable from error
    except InvalidHandshake as error:
        raise SocketUnusable from error
    with socket:
        try:
            send(socket, {"type": "connection_init", "payload": {"Authorization": authorization}})
            wait_for_acknowledgement(socket)
            variables = {"id": identifier}
            payload = {"query": documents.FOLLOW_RESTORE, "variables": variables}
            send(socket, {"id": "1", "type": "subscribe", "payload": payload})
            yield from read_states(socket)
        except ConnectionClosed as closed:
            raise read_close(closed) from closed


def wait_for_acknowledgement(socket: ClientConnection) -> None:
    while receive(socket, ANSWER_SECONDS)["type"] != "connection_ack":
        continue


def read_states(socket: ClientConnection) -> Iterator[Json]:
    """Give the payloads; returns when the server completes the subscription."""
    while True:
        message = receive(socket, SILENCE_SECONDS)
        if message["type"] == "next":
            payload = message["payload"]
            if payload.get("errors"):
                raise read_errors(payload["errors"])
            yield payload["data"]["restoreProgress"]
        elif message["type"] == "error":
            raise read_errors(message["payload"])
        elif message["type"] == "complete":
            return


def receive(socket: ClientConnection, seconds: float) -> Json:
    """Give the next message, answering pings; raises TimeoutError when there is none."""
    while True:
        try:
            message: Json = json.loads(socket.recv(timeout=seconds))
        except ValueError as error:
            raise SocketUnusable from error
        if message["type"] != "ping":
            return message
        send(socket, {"type": "pong"})


def send(socket: ClientConnection, message: Json) -> None:
    socket.send(json.dumps(message))


def read_close(closed: ConnectionClosed) -> Exception:
    """Say what a close means: a bad key, a protocol that is not spoken, or a mere loss."""
    code = closed.rcvd.code if closed.rcvd else None
    if code in UNAUTHORISED:
        return KeyRejected()
    return SocketUnusable() if code in {4400, 4406} else EOFError()


def read_errors(errors: list[Json]) -> Exception:
    """Say what a subscription's errors mean: one that the schema lacks is no subscription."""
    codes = {(error.get("extensions") or {}).get("code") for error in errors}
    if codes & {"VALIDATION_FAILED", "BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"}:
        return SocketUnusable()
    return translate(errors)
