"""The probe: whether a key, a bucket and a prefix can hold backups, in words to act on."""

from collections.abc import Mapping
from typing import Any

from app.errors import (
    BucketLifecycle,
    BucketNotFound,
    BucketObjectLock,
    BucketPublic,
    StorageCapability,
)
from app.model.objects import below
from app.storage.session import Account

CAPABILITIES = ("listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles")


def check_key(account: Account, *, bucket: str, prefix: str) -> None:
    """Raise StorageCapability or BucketNotFound unless the key can do all that backups need."""
    missing = [name for name in CAPABILITIES if name not in account.capabilities]
    if missing:
        raise StorageCapability(f"The application key lacks {', '.join(missing)}.")
    if account.buckets is not None and bucket not in account.buckets:
        raise BucketNotFound(f"The application key is restricted to buckets other than {bucket}.")
    folder = below(prefix, "")
    if not folder.startswith(account.name_prefix or ""):
        raise StorageCapability(
            f'The application key only reaches names that begin with "{account.name_prefix}":'
            f' those of the integration begin with "{folder}".'
        )


def check_bucket(bucket: Mapping[str, Any], *, prefix: str) -> None:
    """Raise BucketPublic, BucketLifecycle or BucketObjectLock where backups would not be safe."""
    if bucket["bucketType"] != "allPrivate":
        raise BucketPublic
    folder = below(prefix, "")
    for rule in bucket.get("lifecycleRules") or ():
        reach = str(rule["fileNamePrefix"])
        hides = rule.get("daysFromUploadingToHiding") is not None
        deletes = rule.get("daysFromHidingToDeleting") is not None
        if (hides or deletes) and (reach.startswith(folder) or folder.startswith(reach)):
            where = f'names that begin with "{reach}"' if reach else "all names"
            raise BucketLifecycle(
                f"A lifecycle rule of the bucket {'hides' if hides else 'deletes'} files: the one"
                f" for {where}. Remove it, or use another prefix."
            )
    lock = (bucket.get("fileLockConfiguration") or {}).get("value") or {}
    if (lock.get("defaultRetention") or {}).get("mode"):
        raise BucketObjectLock
