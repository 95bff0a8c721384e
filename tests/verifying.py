"""What a test of the whole product does with verifications."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

VERIFICATION = """id level state exitCode error { code message } instance { hostname }
progress { bytesChecked bytesTotal fraction } restore { state trigger phase }
logs { totalBytes truncated nodes { stream text } }"""
ENDED_VERIFICATION = {"PASSED", "FAILED", "CANCELED"}
ERRORS = "errors { __typename code message path }"


class Verifying:
    """Asks for verifications and waits for them."""

    ask: Callable[..., Awaitable[dict[str, Any]]]
    mutate: Callable[..., Awaitable[dict[str, Any]]]

    async def start_verification(
        self, backup_id: str, level: str = "STORED", instance_id: str | None = None
    ) -> str:
        made = await self.mutate(
            "verifyBackup",
            f"""mutation ($backup: ID!, $level: VerificationLevel!, $instance: ID) {{
              verifyBackup(backupId: $backup, level: $level, instanceId: $instance) {{
                verification {{ id }} {ERRORS} }} }}""",
            backup=backup_id,
            level=level,
            instance=instance_id,
        )
        return str(made["verification"]["id"])

    async def verification_ended(
        self, verification_id: str, *, seconds: float = 60.0
    ) -> dict[str, Any]:
        """The verification once it has ended."""
        fields = f"... on Verification {{ {VERIFICATION} }}"
        document = f"query ($id: ID!) {{ node(id: $id) {{ {fields} }} }}"
        async with asyncio.timeout(seconds):
            while True:
                found: dict[str, Any] = (await self.ask(document, id=verification_id))["node"]
                if found["state"] in ENDED_VERIFICATION:
                    return found
                await asyncio.sleep(0.05)

    async def verify(
        self, backup_id: str, level: str = "STORED", instance_id: str | None = None
    ) -> dict[str, Any]:
        started = await self.start_verification(backup_id, level, instance_id)
        return await self.verification_ended(started)

    async def cancel_verification(self, verification_id: str) -> None:
        await self.mutate(
            "cancelVerification",
            f"mutation ($id: ID!) {{ cancelVerification(id: $id) {{ {ERRORS} }} }}",
            id=verification_id,
        )
