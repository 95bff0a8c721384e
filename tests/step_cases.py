"""What the tests of named steps share: the commands, and what becomes of a restore at each step."""

import asyncio
from pathlib import Path

from app.model.steps import Step

SIZE = 20_000_000
LARGE = f"head -c {SIZE} /dev/zero"
"""More than one part: a large file with an upload of its own."""
KEEP = "cat >> got; echo done >> ends"
HEALED_SECONDS = 30
"""What the product promises, from the start of a healthy worker on."""

AGAIN = {Step.RESTORE_CLAIMED, Step.RESTORE_STARTED, Step.RESTORE_COMMAND_STARTED}
"""Nothing was delivered: the next worker restores."""
COMMITTED = {Step.RESTORE_TRANSFERRED, Step.RESTORE_RECORDED}
"""The command saw the end of its input."""


async def wait_for_file(path: Path, *, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not path.exists():
            await asyncio.sleep(0.05)
