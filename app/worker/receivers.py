"""Receivers of webhooks: called at an address that was looked at first, and at no other one."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import ip_address

import httpx

from app.errors import WebhookFailed, WebhookGone
from app.model.webhooks import Address, Message, Network, may_reach

POST_SECONDS = 15
MOST_ADDRESSES = 3
"""Of a host that are tried, one after the other."""


class Receivers:
    """Sends messages over HTTPS. `allowed`: networks that may be reached although not public."""

    def __init__(self, *, allowed: Sequence[Network], tls: ssl.SSLContext, user_agent: str) -> None:
        self._allowed = allowed
        self._tls = tls
        self._user_agent = user_agent

    async def post(self, url: str, message: Message) -> None:
        """Send a message; nothing of what the receiver says but its status is read.

        Raises WebhookFailed, WebhookGone.
        """
        try:
            async with asyncio.timeout(POST_SECONDS):
                status = await self._post(httpx.URL(url), message)
        except TimeoutError:
            raise WebhookFailed(f"It did not answer within {POST_SECONDS} s.") from None
        if status == HTTPStatus.GONE:
            raise WebhookGone
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise WebhookFailed(f"It answered {status}; redirects are not followed.")
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise WebhookFailed(f"It answered {status}.")

    async def _post(self, url: httpx.URL, message: Message) -> int:
        addresses = await _resolve(url)
        if not may_reach(addresses, self._allowed, tls=url.scheme == "https"):
            raise WebhookFailed("Its address is private, and the operator did not allow it.")
        reason = ""
        for address in addresses[:MOST_ADDRESSES]:
            try:
                return await self._post_to(url, address, message)
            except httpx.HTTPError as error:
                reason = _describe(error)
        raise WebhookFailed(reason)

    async def _post_to(self, url: httpx.URL, address: Address, message: Message) -> int:
        """Call this very address, so that a name that points elsewhere by now changes nothing."""
        headers = {
            **message.headers,
            "host": url.netloc.decode("ascii"),
            "user-agent": self._user_agent,
        }
        # A client for each: neither cookies nor connections are shared between receivers.
        async with (
            httpx.AsyncClient(
                verify=self._tls, trust_env=False, follow_redirects=False, timeout=POST_SECONDS
            ) as client,
            client.stream(
                "POST",
                url.copy_with(host=str(address)),
                content=message.body,
                headers=headers,
                extensions={"sni_hostname": url.host},
            ) as response,
        ):
            return response.status_code


async def _resolve(url: httpx.URL) -> list[Address]:
    port = url.port or (443 if url.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise WebhookFailed("Its host's name cannot be resolved.") from None
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


def _describe(error: httpx.HTTPError) -> str:
    """What went wrong, in words of ours: an error's own may quote what the other side said."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "Its TLS certificate is not valid."
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectError):
        return "It cannot be reached."
    return "The connection to it broke."
