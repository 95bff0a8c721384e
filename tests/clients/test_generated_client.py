"""A client generated from `schema.graphql` does the README's tour against a real gateway."""

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.model.access import Role
from app.service import keys
from tests.product import Product

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "python"
CONFIGURATION = f"""
[tool.ariadne-codegen]
schema_path = "{ROOT / "schema.graphql"}"
queries_path = "documents"
target_package_name = "gateway_client"
target_package_path = "."
include_comments = "none"
[tool.ariadne-codegen.scalars]
BigInt = {{ type = "int" }}
DateTime = {{ type = "datetime.datetime" }}
Duration = {{ type = "datetime.timedelta" }}
"""

pytestmark = pytest.mark.timeout(120)  # two programs start, on a busy machine


async def run(*command: str | Path, folder: Path) -> bytes:
    """Run a program there; its words are the failure."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, (output + errors).decode()
    return output


async def generate(generator: Path, folder: Path) -> None:
    """Write the package `gateway_client` for the README's documents and a few more."""
    documents = folder / "documents"
    documents.mkdir()
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```graphql\n(.*?)```", readme, re.DOTALL)
    (documents / "readme.graphql").write_text("\n".join(blocks))
    shutil.copy(HERE / "more.graphql", documents)
    (folder / "codegen.toml").write_text(CONFIGURATION)
    await run(generator, "client", "--config", "codegen.toml", folder=folder)
    shutil.copy(HERE / "tour.py", folder)


async def test_a_generated_client_does_the_tour(
    product: Product, tmp_path: Path, program: Callable[[str], Path]
) -> None:
    generator = program("ariadne-codegen")
    await generate(generator, tmp_path)
    load = await product.workload(
        "ledger",
        backup="echo saving >&2; cat data",
        restore="while [ ! -e go ]; do sleep 0.05; done; cat > restored",
    )
    data = bytes(range(256)) * 10_000
    (load.folder(1) / "data").write_bytes(data)
    product.give(load.folder(1) / "data")
    _, viewer = await keys.create_key(
        product.owner, hub_id=product.hub_id, name="viewer", role=Role.VIEWER
    )
    async with product.working():
        output = await run(
            generator.parent / "python",
            "tour.py",
            f"{product.url}/graphql",
            product.token,
            viewer,
            load.folder(2) / "go",
            folder=tmp_path,
        )
    seen: dict[str, Any] = json.loads(output)
    first = seen["restore"].pop(0)
    assert first["state"] in {"QUEUED", "RUNNING"}
    assert first["bytes"] < len(data)
    assert seen == {
        "container": "ledger",
        "backup": ["LIVE", len(data), "UTC"],
        "log": [["STDERR", "saving\n"]],
        "listed": [True],
        "restore": [{"state": "SUCCEEDED", "bytes": len(data)}],
        "deleted": [[True, True]],
        "refusals": {
            "unknown": "look again: NOT_FOUND",
            "too many": "mend ids: TOO_MANY_IDS",
            "deleted": "not now: BACKUP_NOT_LIVE",
            "key reused": "in the way: IDEMPOTENCY_KEY_REUSED",
            "viewer": "ask an administrator: NOT_PERMITTED",
        },
        "top level": "VALIDATION_FAILED",
    }
    assert (load.folder(2) / "restored").read_bytes() == data
