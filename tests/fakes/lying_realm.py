"""A B2 that names addresses where nothing of ours may go, and counts who went there."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Realm:
    """`url` is the realm, `trap` a server beside it; each falsehood is switched on by the test."""

    url: str = ""
    trap: str = ""
    api_url: str = ""
    download_url: str = ""
    upload_url: str = ""
    redirect: str | None = None
    page: bytes | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    """While it is not set, nobody gets an answer."""
    calls: Counter[str] = field(default_factory=Counter)
    trapped: list[str] = field(default_factory=list)

    def answer(self, operation: str) -> dict[str, Any]:
        if operation == "b2_authorize_account":
            storage = {
                "apiUrl": self.api_url,
                "downloadUrl": self.download_url,
                "allowed": {"capabilities": [], "buckets": None, "namePrefix": None},
            }
            return {
                "accountId": "a",
                "authorizationToken": "t",
                "apiInfo": {"storageApi": storage},
            }
        if operation == "b2_list_buckets":
            return {"buckets": [{"bucketName": "backups", "bucketId": "b"}]}
        if operation == "b2_get_upload_url":
            return {"uploadUrl": self.upload_url, "authorizationToken": "u"}
        return {}


@contextmanager
def open_lying_realm() -> Iterator[Realm]:
    realm = Realm()

    class Lying(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = self.path.rpartition("/")[2]
            realm.calls[operation] += 1
            realm.gate.wait()
            body = realm.page or json.dumps(realm.answer(operation)).encode()
            self.send_response(302 if realm.redirect else 200)
            if realm.redirect:
                self.send_header("Location", realm.redirect)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Trap(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            realm.trapped.append(self.path)
            self.send_error(500)

        do_GET = do_POST  # noqa: N815 - named by http.server

        def log_message(self, *_: object) -> None:
            pass

    with serve(Lying) as realm.url, serve(Trap) as realm.trap:
        realm.gate.set()
        realm.api_url = realm.download_url = realm.upload_url = realm.url
        yield realm


@contextmanager
def serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
