"""The storage of each integration, made once and kept while its key stays the same."""

import ssl

import httpx

from app.errors import StorageUnavailable
from app.model.integrations import Realm, StorageAccess
from app.storage.b2 import UPLOAD_PATIENCE, B2Storage
from app.storage.retries import Patience
from app.storage.threads import StorageThreads

THREADS = 32


class Buckets:
    """Opens an integration's bucket; what is open is shared by all runs of this process."""

    def __init__(
        self,
        *,
        realm: str,
        embedded_realm: str | None,
        user_agent: str,
        patience: Patience = UPLOAD_PATIENCE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls`: whom to trust; by default a context of its own, which takes time to make."""
        self._realm = realm
        self._embedded_realm = embedded_realm
        self._user_agent = user_agent
        self._patience = patience
        self._threads = StorageThreads(THREADS)
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(60, connect=10),
            limits=httpx.Limits(max_connections=None),
            verify=tls or True,
            trust_env=False,
        )
        self._open: dict[StorageAccess, B2Storage] = {}

    def open(self, access: StorageAccess) -> B2Storage:
        """The bucket by exactly this key. Raises StorageUnavailable where its B2 is not here."""
        found = self._open.get(access)
        if found is None:
            found = B2Storage(
                realm=self._find_realm(access),
                key_id=access.key_id,
                key=access.key,
                bucket=access.bucket,
                prefix=access.prefix,
                threads=self._threads,
                user_agent=self._user_agent,
                http=self._http,
                patience=self._patience,
            )
            self._open[access] = found
        return found

    async def aclose(self) -> None:
        """Close every connection; what still runs comes to its end by itself."""
        for storage in self._open.values():
            await storage.aclose()
        self._threads.close()
        await self._http.aclose()

    def _find_realm(self, access: StorageAccess) -> str:
        if access.realm is not Realm.EMBEDDED:
            return self._realm
        if self._embedded_realm is None:
            raise StorageUnavailable("The embedded B2 of this integration runs with `up` only.")
        return self._embedded_realm
