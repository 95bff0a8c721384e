"""`DOCKER=... make up`: the demo's hub shows the labelled containers of this machine's engine."""

import os
import socket
from pathlib import Path

import pytest

from app.demo.engine import find_socket
from app.errors import StartError
from tests.fakes.new_user import NewUser, wait_until

pytestmark = pytest.mark.timeout(120)
LABELS = {
    "backup-gateway.container": "shop",
    "backup-gateway.stateful": "true",
    "backup-gateway.backup.command": "cat /data/rows",
    "backup-gateway.restore.command": "cat > /data/restored",
}
SHOP = """{ containers(filter: {identifier: "shop"}) { nodes { id engine { name state }
  instances { nodes { id hostname state } } backupPolicy { backup { command } } } } }"""
BACK_UP = """mutation ($id: ID!) { createBackup(containerId: $id) {
  backup { id } errors { code message } } }"""
RESTORE = """mutation ($backup: ID!, $instance: ID!) {
  restoreBackup(backupId: $backup, instanceId: $instance) {
    restore { id } errors { code message } } }"""


def test_a_labelled_container_is_there_and_can_be_saved_and_restored(
    user: NewUser, real_engine, tmp_path: Path
):
    engine = real_engine("docker")
    data = os.urandom(1000)
    (tmp_path / "rows").write_bytes(data)
    box = engine.run(folder=tmp_path, Labels=LABELS)
    try:
        up = user.start(DOCKER=str(engine.socket)).greeted()
        wait_until(lambda: up.ask(SHOP)["containers"]["nodes"])
        [shop] = up.ask(SHOP)["containers"]["nodes"]
        assert shop["engine"] == {"name": "this host", "state": "LIVE"}
        [instance] = shop["instances"]["nodes"]
        assert instance["state"] == "RUNNING"
        made = up.ask(BACK_UP, id=shop["id"])["createBackup"]
        assert made["errors"] == []
        wait_until(lambda: up.backups("shop")[0]["state"] == "LIVE")
        up.ask(RESTORE, backup=made["backup"]["id"], instance=instance["id"])
        wait_until(
            lambda: (
                (tmp_path / "restored").exists() and (tmp_path / "restored").read_bytes() == data
            )
        )
        up.press_ctrl_c()
        assert up.ended() == 0
        # The next start finds the engine, and makes no second one.
        up = user.start(DOCKER=str(engine.socket)).greeted()
        engines = up.ask("{ hub { engines { totalCount } } }")
        assert engines == {"hub": {"engines": {"totalCount": 1}}}
    finally:
        engine.remove(box)


def test_a_socket_is_found_or_it_is_said_what_to_do(tmp_path: Path):
    there = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(there))
        assert find_socket(str(there)) == there
        assert find_socket("1", [str(tmp_path / "none"), str(there)]) == there
    with pytest.raises(StartError, match=r"there is no socket /nowhere.*DOCKER=/path/to"):
        find_socket("/nowhere")
    with pytest.raises(StartError, match="a or b"):
        find_socket("1", ["a", "b"])
