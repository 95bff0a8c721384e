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
from tests.product import OWNER, Product

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "python"
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


def find_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


async def generate(generator: Path, folder: Path) -> None:
    """Write the package `gateway_client` as the README says, for its documents and a few more."""
    documents = folder / "documents"
    documents.mkdir()
    readme = (ROOT / "README.md").read_text()
    (documents / "readme.graphql").write_text("\n".join(find_blocks(readme, "graphql")))
    shutil.copy(HERE / "more.graphql", documents)
    shutil.copy(ROOT / "schema.graphql", folder)
    [configuration] = find_blocks(readme, "toml")
    (folder / "codegen.toml").write_text(configuration)
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
        lost = (await product.back_up(load))["id"]
        for version in product.b2.versions(product.bucket_id):
            name, file_id = version["fileName"], version["fileId"]
            if name == OWNER:
                continue
            product.b2.call("b2_delete_file_version", fileName=name, fileId=file_id)
        output = await run(
            generator.parent / "python",
            "tour.py",
            f"{product.url}/graphql",
            product.token,
            viewer,
            lost,
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
        "listed": [True, True],
        "restore": [{"state": "SUCCEEDED", "bytes": len(data)}],
        "downloaded": len(data),
        "deleted": [[True, True]],
        "refusals": {
            "unknown": "look again: NOT_FOUND",
            "too many": "mend ids: TOO_MANY_IDS",
            "deleted": "not now: BACKUP_NOT_LIVE",
            "key reused": "in the way: IDEMPOTENCY_KEY_REUSED",
            "lost": "look at the bucket: OBJECT_MISSING",
            "viewer": "ask an administrator: NOT_PERMITTED",
        },
        "top level": "VALIDATION_FAILED",
    }
    assert (load.folder(2) / "restored").read_bytes() == data
