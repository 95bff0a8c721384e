"""`up` as a new user meets it: the first start, the tour, the end, and the next start."""

import json
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.fakes.new_user import NewUser, Up, make_user, wait_until

pytestmark = pytest.mark.timeout(300)  # real servers start and stop, on a busy machine

NOBODY = 65534
SLOW_SAVE = "tar -cf - -C data .; while [ ! -e go ]; do sleep 0.05; done"


def find_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def change_save(up: Up, identifier: str, command: str) -> None:
    """Give a demo container another backup command, through the API."""
    found = up.ask(
        """query ($identifier: String!) { containers(filter: {identifier: $identifier}) {
          nodes { id } } hub { integrations { nodes { id } } } }""",
        identifier=identifier,
    )
    answer = up.ask(
        """mutation ($id: ID!, $policy: BackupPolicyInput) {
          configureBackups(containerId: $id, policy: $policy) { errors { message } } }""",
        id=found["containers"]["nodes"][0]["id"],
        policy={
            "integrationId": found["hub"]["integrations"]["nodes"][0]["id"],
            "backup": {"command": command, "timeout": "PT10M"},
        },
    )
    assert answer["configureBackups"]["errors"] == []


@pytest.mark.needs("curl")
def test_the_first_start_shows_all_that_is_needed(user: NewUser):
    up = user.start().greeted()
    stored = user.home / "credentials.toml"
    assert find_mode(stored) == 0o600
    assert stored.read_text().splitlines()[1:] == [f'url = "{up.url}"', f'token = "{up.token}"']
    pasted = subprocess.run(
        ("sh", "-c", up.curl), capture_output=True, text=True, check=True, timeout=60
    )
    nodes = json.loads(pasted.stdout)["data"]["containers"]["nodes"]
    shown = {
        node["identifier"]: [i["hostname"] for i in node["instances"]["nodes"]] for node in nodes
    }
    assert shown == {"ledger": ["1.ledger", "2.ledger"], "notes": ["1.notes", "2.notes"]}

    assert find_mode(user.home) == 0o711
    for name in ("b2", "demo", "postgres/data", "postgres/run"):
        assert (name, find_mode(user.home / name)) == (name, 0o700)
    for name in ("secret.key", "demo-is-made", "postgres/lock", "postgres/postgres.log"):
        assert (name, find_mode(user.home / name)) == (name, 0o600)
    for file in (user.home / "b2").iterdir():
        assert (file.name, find_mode(file) & 0o077) == (file.name, 0)

    sealing = (user.home / "secret.key").read_text().strip().partition(":")[2]
    master = json.loads((user.home / "b2/master-key.json").read_text())
    secrets = [up.token, sealing, *(v for k, v in master.items() if "id" not in k.lower())]
    assert [secret for secret in secrets if str(secret) in up.logged] == []


def test_notes_and_ledger_are_saved_restored_and_deleted_and_found_again(user: NewUser):
    up = user.start().greeted()
    saved = {}
    for identifier in ("notes", "ledger"):
        saved[identifier] = user.json("backup", identifier, f"1.{identifier}", "--follow")["id"]
        restored = user.json("restore", saved[identifier], f"2.{identifier}", "--follow")
        assert restored["state"] == "SUCCEEDED"
    first, second = user.home / "demo/1.notes/data", user.home / "demo/2.notes/data"
    assert second.joinpath("README.md").read_text() == first.joinpath("README.md").read_text()
    token = up.token

    up.press_ctrl_c()
    assert up.ended() == 0
    assert up.told.endswith("Stopped. Everything is kept for the next start.\n")
    assert user.processes() == []

    up = user.start().greeted()
    assert up.token == token
    assert [b["state"] for b in user.json("backups", "ledger")] == ["LIVE"]
    assert user.json("restore", saved["ledger"], "2.ledger", "--follow")["state"] == "SUCCEEDED"
    assert [r["accepted"] for r in user.json("delete", *saved.values())] == [True, True]
    wait_until(lambda: up.backups("notes") == up.backups("ledger") == [])
    assert user.json("backups", "notes") == user.json("backups", "ledger") == []
    up.process.send_signal(signal.SIGTERM)
    assert up.ended() == 0
    assert user.processes() == []


def test_a_second_ctrl_c_hands_off_and_the_next_start_takes_the_run_up(user: NewUser):
    up = user.start(BACKUP_GATEWAY_DRAIN="10m").greeted()
    change_save(up, "notes", SLOW_SAVE)
    run = user.json("backup", "notes", "1.notes")["id"]
    wait_until(lambda: up.backups("notes")[0]["state"] == "SAVING")
    up.press_ctrl_c()
    wait_until(lambda: "Stopping once 1 run(s) have ended, at the latest in 600 s" in up.told)
    assert up.process.poll() is None
    up.press_ctrl_c()
    assert up.ended() == 0
    assert user.processes() == []

    (user.home / "demo/1.notes/go").touch()
    up = user.start().greeted()
    wait_until(lambda: up.backups("notes")[0]["state"] == "LIVE")
    assert [b["id"] for b in user.json("backups", "notes")] == [run]


def test_kill_9_leaves_no_process_and_the_next_start_works(user: NewUser):
    up = user.start().greeted()
    change_save(up, "notes", SLOW_SAVE)
    user.done("backup", "notes", "1.notes")
    wait_until(lambda: up.backups("notes")[0]["state"] == "SAVING")
    up.process.kill()
    assert up.ended() == -signal.SIGKILL
    wait_until(lambda: user.processes() == [])

    (user.home / "demo/1.notes/go").touch()
    up = user.start().greeted()
    wait_until(lambda: up.backups("notes")[0]["state"] == "LIVE")


@pytest.mark.parametrize("after", ["b2/master-key.json", "demo"])
def test_a_start_that_was_cut_off_is_completed_by_the_next(user: NewUser, after: str):
    up = user.start()
    wait_until((user.home / after).exists)
    up.process.kill()
    up.ended()
    wait_until(lambda: user.processes() == [])
    up = user.start().greeted()
    names = up.ask("{ containers { nodes { identifier instances { nodes { hostname } } } } }")
    assert [len(n["instances"]["nodes"]) for n in names["containers"]["nodes"]] == [2, 2]


def test_open_sockets_are_told_to_come_again(user: NewUser):
    """Code 1012, which clients answer by connecting anew; they do not hold up the end."""
    up = user.start().greeted()
    url = "ws" + up.url.removeprefix("http")
    protocol = Subprotocol("graphql-transport-ws")
    with connect(url, subprotocols=[protocol], proxy=None) as socket:
        payload = {"Authorization": f"Bearer {up.token}"}
        socket.send(json.dumps({"type": "connection_init", "payload": payload}))
        assert json.loads(socket.recv(60)) == {"type": "connection_ack"}
        up.press_ctrl_c()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert up.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_stopped_says_so_and_leaves_nothing(user: NewUser, number: signal.Signals):
    up = user.start()
    wait_until((user.home / "b2").exists)
    up.process.send_signal(number)
    assert up.ended() == 0
    assert "Stopped" in up.told
    assert up.logged.count("Traceback") == 0
    assert user.processes() == []


def test_what_the_user_deleted_does_not_come_back(user: NewUser):
    up = user.start().greeted()
    nodes = up.ask("{ containers { nodes { id identifier } } }")["containers"]["nodes"]
    for node in nodes:
        up.ask(
            """mutation ($id: ID!, $typed: String!) {
              deleteContainer(id: $id, confirm: $typed) { errors { message } } }""",
            id=node["id"],
            typed=node["identifier"],
        )
    up.press_ctrl_c()
    assert up.ended() == 0
    up = user.start().greeted()
    found = up.ask("{ containers { nodes { identifier state } } }")["containers"]["nodes"]
    assert [n for n in found if n["state"] == "LIVE"] == []


def test_two_ups_do_not_share_a_data_folder(user: NewUser):
    user.start().greeted()
    second = user.run("up")
    assert second.returncode == 2
    assert second.stderr.startswith(f"Error: Another `up` runs in {user.home};")


@pytest.mark.needs("root")
def test_it_all_works_as_an_ordinary_user():
    user = make_user(uid=NOBODY)
    try:
        up = user.start().greeted()
        assert "can read everything that the gateway can" in up.logged
        user.json("backup", "ledger", "1.ledger", "--follow")
        assert user.json("restore", "latest", "2.ledger", "--follow")["state"] == "SUCCEEDED"
        assert user.home.stat().st_uid == NOBODY
        up.press_ctrl_c()
        assert up.ended() == 0
        assert user.processes() == []
    finally:
        user.end()
