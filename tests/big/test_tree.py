"""A large tree with odd names, saved and restored with tar by a client that speaks only GraphQL."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from app.demo.instances import LOAD_TREE, SAVE_TREE, TREE
from tests.fakes.local_b2_server import LocalB2Server

GIB = 1024**3
BLOCK = 16 * 1024 * 1024

NAMES = (
    "two\nlines",
    " leading and trailing ",
    "-rf",
    "--help",
    "'quotes' and \"more\"",
    "back\\slash",
    "tab\there",
    "grüße 日本語 🎉",
    "$(touch never) `id` ; & | *",
    "l" * 255,
)
LATIN = b"latin-1 \xe9\xff"
"""No UTF-8."""

FOLLOW = """subscription ($id: ID!) {
  restoreProgress(restoreId: $id) { state phase progress { bytesDelivered bytesTotal } } }"""


@pytest.fixture
def b2(tmp_path):
    """As `up` runs it: a process of its own, with parts as large as Backblaze recommends."""
    with LocalB2Server(
        tmp_path / "b2", part_size=100_000_000, minimum_part_size=5_000_000, child=True
    ) as server:
        yield server


def _plant(tree):
    """Make the tree; returns the path of the largest file."""
    tree.mkdir()
    for name in NAMES:
        folder = tree / "odd" / name
        folder.mkdir(parents=True)
        (folder / name).write_text(name)
    (tree / "empty folder").mkdir()
    (tree / "empty file").touch()
    (tree / "mode").write_text("#!/bin/sh\n")
    (tree / "mode").chmod(0o751)
    os.utime(tree / "mode", (1_000_000_000, 1_000_000_000))
    Path(os.fsdecode(os.fsencode(tree) + b"/" + LATIN)).write_bytes(LATIN)
    (tree / "to a file").symlink_to("odd/-rf/-rf")
    (tree / "to a folder").symlink_to("odd")
    (tree / "to nothing").symlink_to("../not/there")
    os.link(tree / "mode", tree / "the same file")
    with (tree / "random").open("wb") as stream:
        for _ in range(GIB // BLOCK):
            stream.write(os.urandom(BLOCK))


def _give_all(product, tree):
    for folder, folders, files in os.walk(tree):
        for name in [".", *folders, *files]:
            product.give(Path(folder, name))


def _describe(tree):
    """Everything that must be equal, by name; contents of large files are compared apart."""
    found = {}
    for folder, folders, files in os.walk(tree):
        for name in folders + files:
            path = Path(folder, name)
            status = path.lstat()
            content = b""
            if path.is_symlink():
                content = os.fsencode(path.readlink())
            elif path.is_file() and status.st_size < BLOCK:
                content = path.read_bytes()
            kind = stat.S_IFMT(status.st_mode)
            size = 0 if kind == stat.S_IFDIR else status.st_size
            modified = None if kind == stat.S_IFDIR else int(status.st_mtime)
            links = 0 if kind == stat.S_IFDIR else status.st_nlink
            found[str(path.relative_to(tree))] = (status.st_mode, size, modified, links, content)
    return found


def _same_bytes(one, other):
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(BLOCK):
            if block != second.read(BLOCK):
                return False
        return not second.read(1)


@pytest.mark.timeout(300)  # a gigabyte in each direction, on a loaded machine
async def test_a_large_tree_of_odd_names_comes_back_equal_and_its_bytes_are_told(product):
    load = await product.workload("notes", backup=SAVE_TREE, restore=LOAD_TREE)
    source, target = load.folder(1) / TREE, load.folder(2) / TREE
    await asyncio.to_thread(_plant, source)
    _give_all(product, source)
    async with product.worker_process():
        backup = await product.back_up(load, seconds=200)
        assert backup["state"] == "LIVE", backup
        size = backup["sizeBytes"]
        assert size > GIB
        restore_id = await product.start_restore(backup["id"], load.instance(2))
        seen = [data["restoreProgress"] async for data in product.watch(FOLLOW, id=restore_id)]
    assert seen[-1]["state"] == "SUCCEEDED", seen[-1]
    delivered = [state["progress"]["bytesDelivered"] for state in seen]
    assert delivered == sorted(delivered)
    assert delivered[-1] == size
    # It rises before it ends: steps of a gigabyte, not one jump.
    assert len({told for told in delivered if 0 < told < size}) >= 3
    assert {state["progress"]["bytesTotal"] for state in seen} == {size}
    phases = list(dict.fromkeys(state["phase"] for state in seen if state["state"] == "RUNNING"))
    assert "TRANSFERRING" in phases
    assert _describe(target) == _describe(source)
    assert await asyncio.to_thread(_same_bytes, source / "random", target / "random")
    assert (target / "mode").samefile(target / "the same file")
