"""The client: one GraphQL operation over HTTP, tried again where that is safe."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Self
from uuid import uuid4

import httpx

from app.cli.credentials import Credentials
from app.errors import GatewayUnreachable, KeyRejected, RequestRefused

DELAYS = (0.25, 0.5, 1.0)
"""Seconds before each further try: a gateway that restarts is back by then."""
TIMEOUT = 30.0
PAGE = 100
MAX_WAIT = 30.0

Json = dict[str, Any]


class Client:
    """Talks to one gateway. Every mutation carries a key, so that a retry does nothing twice."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self._http = httpx.Client(
            timeout=TIMEOUT,
            trust_env=credentials.through_proxy,
            headers={
                "Authorization": f"Bearer {credentials.token}",
                "Accept": "application/graphql-response+json, application/json;q=0.9",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def execute(self, document: str, variables: Mapping[str, object] | None = None) -> Json:
        """Give the operation's data.

        Raises GatewayUnreachable, KeyRejected or RequestRefused.
        """
        body = {"query": document, "variables": dict(variables or {})}
        failure = ""
        for delay in (*DELAYS, None):
            try:
                response = self._http.post(self.credentials.url, json=body)
            except httpx.TransportError as error:
                failure = f"{self.credentials.url} cannot be reached: {describe(error)}"
                wait = delay
            else:
                if response.status_code not in {429, 502, 503, 504}:
                    return self._read(response)
                failure = f"{self.credentials.url} answers {response.status_code}; try again later"
                wait = None if delay is None else find_wait(response, delay)
            if wait is None:
                break
            time.sleep(wait)
        raise GatewayUnreachable(failure)

    def mutate(self, document: str, variables: Mapping[str, object], key: str | None) -> Json:
        """Give the payload of a document whose one field is called `result`.

        Raises RequestRefused with the payload's errors, besides what `execute` raises.
        """
        data = self.execute(document, {**variables, "key": key or str(uuid4())})
        payload: Json = data["result"]
        if payload["errors"]:
            sentences = [f"{e['message']} ({e['code']})" for e in payload["errors"]]
            raise RequestRefused("\n".join(sentences))
        return payload

    def page(
        self, document: str, variables: Mapping[str, object], *path: str, size: int = PAGE
    ) -> Iterator[Json]:
        """Give each node of the connection at `path`, page after page, as they are asked for."""
        after = None
        while True:
            found: Any = self.execute(document, {**variables, "first": size, "after": after})
            for name in path:
                found = None if found is None else found[name]
            if found is None:
                return
            yield from found["nodes"]
            if not found["pageInfo"]["hasNextPage"]:
                return
            after = found["pageInfo"]["endCursor"]

    def _read(self, response: httpx.Response) -> Json:
        if response.status_code in {401, 403}:
            raise KeyRejected
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not ("data" in answer or "errors" in answer):
            raise GatewayUnreachable(
                f"{self.credentials.url} answers {response.status_code}, and not with GraphQL: "
                "is this the gateway's address?"
            )
        if answer.get("errors"):
            raise translate(answer["errors"])
        data: Json = answer["data"]
        return data


def translate(errors: list[Json]) -> RequestRefused | KeyRejected:
    """Make the exception that a list of top-level errors stands for."""
    codes = [(error.get("extensions") or {}).get("code", "") for error in errors]
    text = "\n".join(
        f"{error['message']} ({code})" if code else str(error["message"])
        for error, code in zip(errors, codes, strict=True)
    )
    if {"UNAUTHENTICATED", "FORBIDDEN"} & set(codes):
        return KeyRejected(text)
    return RequestRefused(text)


def find_wait(response: httpx.Response, default: float) -> float:
    """Say how many seconds the server asks to wait; it is believed up to a bound."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), MAX_WAIT) if asked.isdigit() else default


def describe(error: Exception) -> str:
    return str(error) or type(error).__name__
