"""Who may do what in the local B2: keys with capabilities, a bucket and a prefix; signed tokens."""

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from app.errors import StartError
from app.storage.local_index import Index
from app.storage.local_requests import Refusal, forbid

EMBEDDED_KEY_PREFIX = "embedded-"
CAPABILITIES = (
    "listKeys",
    "writeKeys",
    "deleteKeys",
    "listBuckets",
    "listAllBucketNames",
    "readBuckets",
    "writeBuckets",
    "deleteBuckets",
    "readBucketEncryption",
    "writeBucketEncryption",
    "readBucketRetentions",
    "writeBucketRetentions",
    "readFileRetentions",
    "writeFileRetentions",
    "readFileLegalHolds",
    "writeFileLegalHolds",
    "readBucketReplications",
    "writeBucketReplications",
    "readBucketNotifications",
    "writeBucketNotifications",
    "bypassGovernance",
    "listFiles",
    "readFiles",
    "shareFiles",
    "writeFiles",
    "deleteFiles",
)
MASTER_KEY_FILE = "master-key.json"
DAY = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An application key. `expires` is in ms since 1970."""

    key_id: str
    name: str
    capabilities: tuple[str, ...] = CAPABILITIES
    bucket_ids: tuple[str, ...] | None = None
    prefix: str | None = None
    expires: int | None = None

    def require(self, capability: str) -> None:
        """Raise Refusal unless the key has the capability."""
        if capability not in self.capabilities:
            forbid(f"unauthorized: the key lacks the capability {capability}")

    def check_bucket(self, bucket_id: str) -> None:
        """Raise Refusal for a bucket outside the key's."""
        if self.bucket_ids is not None and bucket_id not in self.bucket_ids:
            forbid("unauthorized: the key is restricted to another bucket")

    def check_name(self, name: str) -> None:
        """Raise Refusal for a name, or the prefix of a listing, outside the key's prefix."""
        if self.prefix and not name.startswith(self.prefix):
            forbid("unauthorized: the key is restricted to another name prefix")


class Keys:
    """The application keys in the index, and the master key, which is not stored there."""

    def __init__(self, index: Index, *, master_id: str, master_secret: str) -> None:
        self._index = index
        self._master = Key(key_id=master_id, name="master")
        self._master_hash = _hash(master_secret)

    def authenticate(self, key_id: str, secret: str, *, now: int) -> Key:
        """The key of these credentials; raises Refusal."""
        key, wanted = self._find(key_id)
        if (
            key is None
            or not hmac.compare_digest(wanted, _hash(secret))
            or (key.expires is not None and key.expires <= now)
        ):
            raise Refusal(401, "bad_auth_token", "Invalid application key id or key")
        return key

    def find(self, key_id: str) -> Key | None:
        return self._find(key_id)[0]

    def _find(self, key_id: str) -> tuple[Key | None, str]:
        if key_id == self._master.key_id:
            return self._master, self._master_hash
        rows = self._index.rows("select secret_hash, facts from keys where key_id = ?", (key_id,))
        return (_key(str(rows[0][1])), str(rows[0][0])) if rows else (None, "")

    def add(self, key: Key, secret: str) -> None:
        self._index.run(
            "insert into keys (key_id, secret_hash, facts) values (?, ?, ?)",
            (key.key_id, _hash(secret), json.dumps(asdict(key))),
        )

    def remove(self, key_id: str) -> bool:
        return self._index.run("delete from keys where key_id = ?", (key_id,)) == 1

    def page(self, start: str, limit: int) -> list[Key]:
        rows = self._index.rows(
            "select facts from keys where key_id >= ? order by key_id limit ?", (start, limit)
        )
        return [_key(str(row[0])) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a token stands for: `scope` is a bucket (upload, download), a file (part) or nothing."""

    kind: str
    key_id: str
    scope: str = ""
    prefix: str = ""
    issued: float
    seconds: int = DAY
    generation: int


class Tokens:
    """Signs and reads tokens. They hold everything themselves, so they outlive a restart."""

    def __init__(
        self, secret: str, *, clock: Callable[[], float], generation: Callable[[], int]
    ) -> None:
        self._secret = secret.encode()
        self._clock = clock
        self._generation = generation

    def issue(
        self, kind: str, key: Key, *, scope: str = "", prefix: str = "", seconds: int = DAY
    ) -> str:
        token = Token(
            kind=kind,
            key_id=key.key_id,
            scope=scope,
            prefix=prefix,
            issued=self._clock(),
            seconds=seconds,
            generation=self._generation(),
        )
        body = json.dumps([asdict(token), secrets.token_hex(8)]).encode()
        packed = base64.urlsafe_b64encode(body).decode().rstrip("=")
        return f"4_{packed}.{self._sign(packed)}"

    def read(self, text: str, *kinds: str) -> Token:
        """The token of one of these kinds; raises Refusal (bad_auth_token, expired_auth_token)."""
        packed, _, signature = text.removeprefix("4_").partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(packed).encode()):
            raise Refusal(401, "bad_auth_token", "Invalid authorization token")
        padding = "=" * (-len(packed) % 4)
        token = Token(**json.loads(base64.urlsafe_b64decode(packed + padding))[0])
        if token.kind not in kinds:
            raise Refusal(401, "bad_auth_token", "Invalid authorization token")
        expired = self._clock() >= token.issued + token.seconds
        if expired or token.generation != self._generation():
            raise Refusal(401, "expired_auth_token", "Authorization token has expired")
        return token

    def _sign(self, packed: str) -> str:
        return hmac.new(self._secret, packed.encode(), hashlib.sha256).hexdigest()[:32]


def local_credentials(folder: Path) -> tuple[str, str]:
    """The master key of a data folder as (key id, key); made at random on the first start.

    Raises StartError where the file is there but cannot be read or is not what was written.
    """
    path = folder / MASTER_KEY_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _write_new(path)
        found = json.loads(path.read_text())
        return str(found["key_id"]), str(found["key"])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise StartError(f"The key of the local B2, {path}, cannot be used: {fault}") from fault


def new_key_id() -> str:
    return EMBEDDED_KEY_PREFIX + secrets.token_hex(8)


def new_secret() -> str:
    """Make a key that begins like Backblaze's: none starts with a dash, as an option does."""
    return "K" + secrets.token_urlsafe(24)


def _write_new(path: Path) -> None:
    # Under a name of its own first: a kill in the middle must not leave half a key.
    draft = path.with_suffix(f".{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"key_id": new_key_id(), "key": new_secret()}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(facts: str) -> Key:
    found = json.loads(facts)
    found["capabilities"] = tuple(found["capabilities"])
    if found["bucket_ids"] is not None:
        found["bucket_ids"] = tuple(found["bucket_ids"])
    return Key(**found)
