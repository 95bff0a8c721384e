"""A gateway that answers from memory: the real schema over real HTTP and sockets, scripted."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import cache
from inspect import isawaitable
from pathlib import Path
from typing import Any

import uvicorn
from graphql import GraphQLSchema, build_schema, execute, parse, subscribe, validate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

SCHEMA = Path(__file__).parents[2] / "schema.graphql"
TOKEN = "a-key"
CREATED = "2026-05-04T03:02:01Z"

Node = dict[str, Any]


def connection(
    nodes: list[Node], first: int = 25, after: str | None = None, **_order_and_filter: object
) -> Node:
    """Page through nodes as they are held; a cursor is the number of those before it."""
    start = int(after or 0)
    page = nodes[start : start + first]
    end = start + len(page)
    info = {"hasNextPage": end < len(nodes), "endCursor": str(end)}
    return {"nodes": page, "pageInfo": {"hasPreviousPage": start > 0, **info}}


@dataclass
class Gateway:
    """What it holds, what it was asked, and how it misbehaves."""

    url: str = ""
    containers: list[Node] = field(default_factory=list)
    script: list[Node] = field(default_factory=list)
    """Changes of the one restore, in order; a subscriber sees each, a poller one a question."""
    keys: list[str] = field(default_factory=list)
    """The idempotency keys of the mutations, in order."""
    subscriptions: int = 0
    refusal: Node | None = None
    """The error that every mutation answers."""
    unavailable: int = 0
    """How many requests answer 503 from now on."""
    cut_after: int | None = None
    """After how many states a socket is cut, once."""
    with_sockets: bool = True
    log: list[Node] = field(default_factory=list)

    def add_container(self, identifier: str, *hostnames: str) -> Node:
        container = {
            "__typename": "Container",
            "id": f"Container-{identifier}-id",
            "identifier": identifier,
            "name": identifier.title(),
            "stateful": True,
            "state": "LIVE",
        }
        instances = [
            {
                "__typename": "Instance",
                "id": f"Instance-{hostname}-id",
                "hostname": hostname,
                "state": "RUNNING",
            }
            for hostname in hostnames
        ]
        held: list[Node] = []
        restores: list[Node] = []
        container |= {
            "instances": lambda _, **page: connection(instances, **page),
            "backups": lambda _, **page: connection(held, **page),
            "restores": lambda _, **page: connection(restores, **page),
            "held": held,
            "made": restores,
        }
        self.containers.append(container)
        return container

    def add_backup(self, container: Node, id: str, **parts: object) -> Node:
        backup = {
            "__typename": "Backup",
            "id": id,
            "state": "LIVE",
            "trigger": "MANUAL",
            "createdAt": CREATED,
            "startedAt": CREATED,
            "finishedAt": "2026-05-04T03:02:03Z",
            "sizeBytes": 2048,
            "exitCode": 0,
            "instanceHostname": f"1.{container['identifier']}",
            "container": container,
            "progress": {"bytesRead": 2048, "bytesStored": 2048, "bytesPerSecond": None},
            "logs": lambda _, **page: self.show_log(**page),
            **parts,
        }
        container["held"].insert(0, backup)
        return backup

    def add_restore(self, container: Node, id: str, **parts: object) -> Node:
        restore = {
            "__typename": "Restore",
            "id": id,
            "state": "QUEUED",
            "phase": "PREPARING",
            "createdAt": CREATED,
            "container": container,
            "progress": measure(0),
            "logs": lambda _, **page: self.show_log(**page),
            **parts,
        }
        container["made"].append(restore)
        return restore

    def show_log(self, **page: Any) -> Node:
        return {**connection(self.log, **page), "truncated": False, "totalBytes": 0}

    # --- what the schema asks for ---------------------------------------------------------

    def find(self, id: str) -> Node | None:
        every = [node for c in self.containers for node in (c, *c["held"], *c["made"])]
        return next((node for node in every if node["id"] == id), None)

    def answer(self, key: str, **payload: object) -> Node:
        self.keys.append(key)
        if self.refusal is not None:
            return {**dict.fromkeys(payload), "results": [], "errors": [self.refusal]}
        return {**payload, "errors": []}

    def delete(self, ids: list[str], key: str) -> Node:
        results: list[Node] = []
        for id in ids:
            backup = self.find(id)
            assert backup is not None
            if backup["state"] == "SAVING":
                error = {"__typename": "InvalidStateError", "message": "It is being saved."}
                error["code"] = "INVALID_STATE"
                results.append({"id": id, "accepted": False, "error": error})
            else:
                backup["state"] = "DELETING"
                results.append({"id": id, "accepted": True, "backup": backup})
        return self.answer(key, results=results)

    def make_backup(self, container_id: str, instance_id: str | None, key: str) -> Node:
        container = self.find(container_id)
        assert container is not None
        backup = self.add_backup(container, "Backup-made-by-the-client", state="QUEUED")
        backup |= {"finishedAt": None, "sizeBytes": None, "instance": instance_id}
        return self.answer(key, backup=backup)

    def make_restore(self, backup_id: str, instance_id: str, key: str) -> Node:
        container = self.containers[0]
        restore = self.add_restore(container, "Restore-made-by-the-client")
        restore |= {"backup": self.find(backup_id), "instance": {"id": instance_id}}
        restore["instance"] |= {"__typename": "Instance", "hostname": instance_id}
        return self.answer(key, restore=restore)

    def poll_restore(self, id: str) -> Node | None:
        restore = self.find(id)
        if restore is not None and self.script:
            restore |= self.script.pop(0)
        return restore

    async def watch_restore(self, id: str) -> AsyncIterator[Node]:
        restore = self.find(id)
        assert restore is not None
        yield {"restoreProgress": dict(restore)}
        while self.script:
            restore |= self.script.pop(0)
            yield {"restoreProgress": dict(restore)}
            await asyncio.sleep(0)

    @property
    def root(self) -> Node:
        return {
            "containers": lambda _, **page: connection(self.containers, **page),
            "container": lambda _, id: self.find(id),
            "node": lambda _, id: self.find(id),
            "backup": lambda _, id: self.find(id),
            "restore": lambda _, id: self.poll_restore(id),
            "createBackup": lambda _, containerId, idempotencyKey, instanceId=None: (  # noqa: N803
                self.make_backup(containerId, instanceId, idempotencyKey)
            ),
            "restoreBackup": lambda _, backupId, instanceId, idempotencyKey, **_rest: (  # noqa: N803
                self.make_restore(backupId, instanceId, idempotencyKey)
            ),
            "deleteBackups": lambda _, ids, idempotencyKey: self.delete(ids, idempotencyKey),  # noqa: N803
            "cancelBackup": lambda _, id, idempotencyKey: self.cancel(  # noqa: N803
                "backup", id, idempotencyKey
            ),
            "cancelRestore": lambda _, id, idempotencyKey: self.cancel(  # noqa: N803
                "restore", id, idempotencyKey
            ),
            "restoreProgress": lambda _, restoreId: self.watch_restore(restoreId),  # noqa: N803
        }

    def cancel(self, field_name: str, id: str, key: str) -> Node:
        run = self.find(id)
        assert run is not None
        run["state"] = "CANCELED"
        return self.answer(key, **{field_name: run})


def measure(delivered: int, total: int = 4096) -> Node:
    return {
        "bytesDelivered": delivered,
        "bytesTotal": total,
        "fraction": delivered / total,
        "bytesPerSecond": 1024,
        "etaSeconds": (total - delivered) / 1024,
    }


@cache
def read_schema() -> GraphQLSchema:
    return build_schema(SCHEMA.read_text())


def make_app(gateway: Gateway) -> Starlette:
    schema = read_schema()

    async def post(request: Request) -> Response:
        if gateway.unavailable:
            gateway.unavailable -= 1
            return PlainTextResponse("starting", 503)
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            return PlainTextResponse("who?", 401)
        body = await request.json()
        document = parse(body["query"])
        if errors := validate(schema, document):
            return JSONResponse({"errors": [e.formatted for e in errors]}, 400)
        done = execute(schema, document, gateway.root, variable_values=body["variables"])
        assert not isinstance(done, asyncio.Future)
        return JSONResponse(done.formatted)

    async def talk(websocket: WebSocket) -> None:
        if not gateway.with_sockets:
            await websocket.close()
            return
        await websocket.accept("graphql-transport-ws")
        with contextlib.suppress(WebSocketDisconnect):
            await serve_subscription(gateway, schema, websocket)

    routes = [Route("/graphql", post, methods=["POST"]), WebSocketRoute("/graphql", talk)]
    return Starlette(routes=routes)


async def serve_subscription(gateway: Gateway, schema: GraphQLSchema, websocket: WebSocket) -> None:
    init = await websocket.receive_json()
    if init["payload"]["Authorization"] != f"Bearer {TOKEN}":
        await websocket.close(4401)
        return
    await websocket.send_json({"type": "connection_ack"})
    asked = await websocket.receive_json()
    await websocket.send_json({"type": "ping"})
    assert await websocket.receive_json() == {"type": "pong"}
    gateway.subscriptions += 1
    payload = asked["payload"]
    document = parse(payload["query"])
    states = subscribe(schema, document, gateway.root, variable_values=payload["variables"])
    if isawaitable(states):
        states = await states
    assert isinstance(states, AsyncIterator), states
    sent = 0
    async for state in states:
        if gateway.cut_after == sent:
            gateway.cut_after = None
            await websocket.close(1012)
            return
        message = {"id": asked["id"], "type": "next", "payload": state.formatted}
        await websocket.send_json(message)
        sent += 1
    await websocket.send_json({"id": asked["id"], "type": "complete"})
    await websocket.receive_json()


@contextlib.contextmanager
def run_gateway() -> Iterator[Gateway]:
    """Serve a gateway on a free port, in a thread, until the block ends."""
    gateway = Gateway()
    listener = socket.create_server(("127.0.0.1", 0))
    gateway.url = f"http://127.0.0.1:{listener.getsockname()[1]}/graphql"
    config = uvicorn.Config(
        make_app(gateway), log_level="error", ws="websockets-sansio", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield gateway
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive()
