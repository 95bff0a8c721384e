"""What guards a version in the local B2: encryption settings, retention and legal hold."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from app.storage.local_access import Key
from app.storage.local_buckets import Bucket
from app.storage.local_requests import Fields, Refusal, refuse

_DAY_MS = 24 * 3600 * 1000
_PERIOD_DAYS = {"days": 1, "years": 365}
_SSE = "x-bz-server-side-encryption"
_SSE_C = "x-bz-server-side-encryption-customer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    encryption: dict[str, str] | None
    retention_mode: str | None
    retain_until: int | None
    legal_hold: str | None


def guards_from_headers(headers: Mapping[str, str], key: Key, bucket: Bucket, now: int) -> Guards:
    """What an upload asks for in its headers, or else the bucket's defaults; raises Refusal."""
    encryption = None
    if f"{_SSE_C}-algorithm" in headers:
        encryption = _customer_encryption(
            headers.get(f"{_SSE_C}-key", ""), headers.get(f"{_SSE_C}-key-md5", "")
        )
    elif _SSE in headers:
        encryption = _b2_encryption(headers[_SSE])
    mode = headers.get("x-bz-file-retention-mode")
    until = headers.get("x-bz-file-retention-retain-until-timestamp", "")
    return _with_defaults(
        encryption,
        mode,
        int(until) if until.isdecimal() else None,
        headers.get("x-bz-file-legal-hold"),
        key=key,
        bucket=bucket,
        now=now,
    )


def guards_from_fields(fields: Fields, key: Key, bucket: Bucket, now: int, *, sse: str) -> Guards:
    """What a request asks for, or else the bucket's defaults; raises Refusal."""
    retention = Fields(fields.mapping("fileRetention") or {})
    return _with_defaults(
        encryption_from(fields, sse),
        retention.optional_text("mode"),
        retention.optional_number("retainUntilTimestamp"),
        fields.optional_text("legalHold"),
        key=key,
        bucket=bucket,
        now=now,
    )


def encryption_from(fields: Fields, name: str) -> dict[str, str] | None:
    """The setting in a field of a request; raises Refusal."""
    setting = Fields(fields.mapping(name) or {})
    mode = setting.optional_text("mode")
    if mode in (None, "none"):
        return None
    if mode == "SSE-B2":
        return _b2_encryption(setting.text("algorithm"))
    if mode != "SSE-C":
        refuse(f"{name}.mode must be none, SSE-B2 or SSE-C")
    return _customer_encryption(setting.text("customerKey"), setting.text("customerKeyMd5"))


def check_customer_key(stored: dict[str, str] | None, offered_md5: str | None) -> None:
    """Raise Refusal unless the reader offers the key that the version was stored with."""
    if stored is None or stored["mode"] != "SSE-C":
        return
    if offered_md5 is None:
        refuse("The object was stored using a form of Server Side Encryption; its key is needed")
    if offered_md5 != stored["customerKeyMd5"]:
        raise Refusal(403, "access_denied", "The key is not the one that the file was stored with")


def offered_key_md5(headers: Mapping[str, str]) -> str | None:
    return headers.get(f"{_SSE_C}-key-md5")


def check_removable(guards: Guards, *, now: int, bypass: bool) -> None:
    """Raise Refusal (401 access_denied) while a retention or a hold keeps the version."""
    held = guards.legal_hold == "on"
    retained = guards.retention_mode is not None and (guards.retain_until or 0) > now
    if held or (retained and not (bypass and guards.retention_mode == "governance")):
        raise Refusal(401, "access_denied", "The file is kept by a retention or a legal hold")


def _with_defaults(
    encryption: dict[str, str] | None,
    mode: str | None,
    until: int | None,
    hold: str | None,
    *,
    key: Key,
    bucket: Bucket,
    now: int,
) -> Guards:
    if mode is not None:
        key.require("writeFileRetentions")
        if mode not in ("governance", "compliance") or until is None or until <= now:
            refuse("A retention needs governance or compliance and a time in the future")
    if hold is not None:
        key.require("writeFileLegalHolds")
        if hold not in ("on", "off"):
            refuse("A legal hold is on or off")
    if (mode is not None or hold is not None) and not bucket.lock_enabled:
        refuse("The bucket is not file lock enabled")
    if mode is None and bucket.retention is not None:
        mode, until = _default_retention(bucket.retention, now)
    if encryption is None and bucket.encryption and bucket.encryption.get("mode") == "SSE-B2":
        encryption = _b2_encryption("AES256")
    return Guards(encryption=encryption, retention_mode=mode, retain_until=until, legal_hold=hold)


def _default_retention(retention: dict[str, object], now: int) -> tuple[str | None, int | None]:
    period = retention.get("period")
    if not isinstance(period, dict):
        return None, None
    days = int(period["duration"]) * _PERIOD_DAYS[str(period["unit"])]
    return str(retention["mode"]), now + days * _DAY_MS


def _b2_encryption(algorithm: str) -> dict[str, str]:
    if algorithm != "AES256":
        refuse("The algorithm of an encryption must be AES256")
    return {"mode": "SSE-B2", "algorithm": algorithm}


def _customer_encryption(key: str, md5: str) -> dict[str, str]:
    try:
        secret = base64.b64decode(key, validate=True)
    except binascii.Error:
        refuse("The customer key must be base64")
    wanted = base64.b64encode(hashlib.md5(secret, usedforsecurity=False).digest()).decode()
    if md5 != wanted:
        refuse("The MD5 of the customer key does not fit the key")
    return {"mode": "SSE-C", "algorithm": "AES256", "customerKeyMd5": md5}
