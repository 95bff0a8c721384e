"""Stored secrets: sealed by a key of the operator's, bound to the row that they belong to."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import SecretUnreadable, StartError
from app.model.integrations import SealedAccess, StorageAccess

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FORMAT: Final = 1
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def make_key() -> str:
    """A new sealing key: an id, a colon, 256 random bits in Base64."""
    return f"{secrets.token_hex(4)}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


class Sealer:
    """Seals by the first key and opens by any. AES-256-GCM; the context is authenticated with it.

    A sealed value: a byte 1, the length of the key's id, the id, 12 random bytes, the ciphertext.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """Take keys as `make_key` writes them, the newest first. Raises StartError."""
        parsed = [_parse_key(key) for key in keys]
        if not parsed:
            raise StartError("There is no sealing key; make one with `backup-gateway secret-key`.")
        self._keys = dict(parsed)
        if len(self._keys) < len(parsed):
            raise StartError("Two sealing keys have the same id; ids must be different.")
        self._newest = parsed[0][0]

    def __repr__(self) -> str:
        return f"Sealer({', '.join(self._keys)})"

    def seal(self, plain: bytes, *, context: str) -> bytes:
        """Encrypt for exactly this context: table, column and row."""
        id = self._newest.encode()
        header = bytes([_FORMAT, len(id)]) + id
        nonce = secrets.token_bytes(_NONCE_BYTES)
        bound = header + context.encode()
        return header + nonce + AESGCM(self._keys[self._newest]).encrypt(nonce, plain, bound)

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypt. Raises SecretUnreadable for an unknown key, another context, changed bytes."""
        body = 2 + sealed[1] if len(sealed) > 1 else 0
        if body == 0 or sealed[0] != _FORMAT or len(sealed) < body + _NONCE_BYTES:
            raise SecretUnreadable
        key = self._keys.get(sealed[2:body].decode("ascii", "replace"))
        if key is None:
            raise SecretUnreadable
        nonce, encrypted = sealed[body : body + _NONCE_BYTES], sealed[body + _NONCE_BYTES :]
        try:
            return AESGCM(key).decrypt(nonce, encrypted, sealed[:body] + context.encode())
        except InvalidTag as error:
            raise SecretUnreadable from error

    def fingerprint(self, plain: bytes, *, context: str) -> str:
        """Tell equal secrets apart from others without giving anybody a hash to guess them by."""
        key = self._keys[self._newest]
        return hmac.new(key, context.encode() + b"\0" + plain, hashlib.sha256).hexdigest()


def seal_key(sealer: Sealer, integration_id: UUID, key: str) -> bytes:
    return sealer.seal(key.encode(), context=_key_context(integration_id))


def open_access(sealer: Sealer, sealed: SealedAccess) -> StorageAccess:
    """Raises SecretUnreadable."""
    key = sealer.open(sealed.sealed_key, context=_key_context(sealed.integration_id))
    return StorageAccess(
        integration_id=sealed.integration_id,
        realm=sealed.realm,
        key_id=sealed.key_id,
        key=key.decode(),
        bucket=sealed.bucket,
        prefix=sealed.prefix,
    )


def seal_variables(sealer: Sealer, instance_id: UUID, variables: Mapping[str, str]) -> bytes | None:
    """None where there are no variables."""
    if not variables:
        return None
    return sealer.seal(orjson.dumps(dict(variables)), context=_variables_context(instance_id))


def open_variables(sealer: Sealer, instance_id: UUID, sealed: bytes | None) -> dict[str, str]:
    """Raises SecretUnreadable."""
    if sealed is None:
        return {}
    plain = sealer.open(sealed, context=_variables_context(instance_id))
    variables: dict[str, str] = orjson.loads(plain)
    return variables


def seal_webhook_secret(sealer: Sealer, webhook_id: UUID, secret: bytes) -> bytes:
    return sealer.seal(secret, context=_webhook_context(webhook_id))


def open_webhook_secret(sealer: Sealer, webhook_id: UUID, sealed: bytes) -> bytes:
    """Raises SecretUnreadable."""
    return sealer.open(sealed, context=_webhook_context(webhook_id))


def seal_engine_key(sealer: Sealer, engine_id: UUID, key: str) -> bytes:
    return sealer.seal(key.encode(), context=_engine_context(engine_id))


def open_engine_key(sealer: Sealer, engine_id: UUID, sealed: bytes) -> str:
    """Raises SecretUnreadable."""
    return sealer.open(sealed, context=_engine_context(engine_id)).decode()


def _engine_context(engine_id: UUID) -> str:
    return f"engines/sealed_key/{engine_id}"


def _webhook_context(webhook_id: UUID) -> str:
    # The same for the former secret: it moves into its place as it is.
    return f"webhooks/sealed_secret/{webhook_id}"


def _key_context(integration_id: UUID) -> str:
    # The same for the key that waits: it moves into its place as it is.
    return f"integrations/sealed_key/{integration_id}"


def _variables_context(instance_id: UUID) -> str:
    return f"instances/sealed_variables/{instance_id}"


def _parse_key(text: str) -> tuple[str, bytes]:
    id, colon, encoded = text.strip().partition(":")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not colon or not _KEY_ID.fullmatch(id) or len(key) != KEY_BYTES:
        # Never quote it: it may be nearly right.
        raise StartError(
            "A sealing key is not of the form ID:BASE64 with 32 bytes;"
            " make one with `backup-gateway secret-key`."
        )
    return id, key
