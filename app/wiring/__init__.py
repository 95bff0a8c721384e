"""Makes every part and joins it; what the command line calls."""

from app.wiring.operator import claim, claim_all, create_hub, create_key, local_b2, migrate, schema
from app.wiring.programs import serve, work
from app.wiring.up import up

__all__ = [
    "claim",
    "claim_all",
    "create_hub",
    "create_key",
    "local_b2",
    "migrate",
    "schema",
    "serve",
    "up",
    "work",
]
