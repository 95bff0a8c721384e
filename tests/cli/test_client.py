"""What the client prints, which exit code it ends with, and what it does when a gateway falters."""

import json
import socket

from tests.cli.conftest import Run
from tests.fakes.gateway import TOKEN, Gateway, measure

LEDGER = "Container-ledger-id"
CREATED = ("2026-05-04", "03:02:01")
DONE = {
    "state": "SUCCEEDED",
    "phase": "CHECKING",
    "progress": measure(4096),
    "startedAt": "2026-05-04T03:02:01Z",
    "finishedAt": "2026-05-04T03:02:05.500000Z",
}
HALF = {"state": "RUNNING", "phase": "TRANSFERRING", "progress": measure(2048)}


def fill(gateway: Gateway) -> None:
    ledger = gateway.add_container("ledger", "1.ledger", "2.ledger")
    gateway.add_backup(ledger, "Backup-older-aaaaaaaaaaaa")
    gateway.add_backup(ledger, "Backup-newer-bbbbbbbbbbbb", sizeBytes=3 * 1024**2)
    gateway.add_backup(
        ledger,
        "Backup-failed-cccccccccccc",
        state="FAILED",
        sizeBytes=None,
        error={"code": "COMMAND_FAILED", "message": "The command ended with exit code 1."},
    )


def test_containers_are_listed_with_instances_and_the_newest_backup(gateway: Gateway, run: Run):
    fill(gateway)
    gateway.add_container("notes", "1.notes")
    done = run("containers")
    assert done.stderr == ""
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["CONTAINER", "STATE", "INSTANCES", "NEWEST", "BACKUP"],
        ["ledger", "LIVE", "1.ledger,", "2.ledger", "cccccccccccc", "FAILED", *CREATED],
        ["notes", "LIVE", "1.notes", "none"],
    ]
    assert done.exit_code == 0


def test_backups_are_listed_newest_first_and_never_cut_in_a_pipe(gateway: Gateway, run: Run):
    fill(gateway)
    lines = run("backups", "ledger").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["cccccccccccc", "1.ledger"],
        ["bbbbbbbbbbbb", "1.ledger"],
        ["aaaaaaaaaaaa", "1.ledger"],
    ]
    assert lines[1].rstrip().endswith("COMMAND_FAILED: The command ended with exit code 1.")
    assert "3.0 MiB" in lines[2]


def test_a_limit_is_kept_over_pages(gateway: Gateway, run: Run):
    ledger = gateway.add_container("ledger", "1.ledger")
    for number in range(130):
        gateway.add_backup(ledger, f"Backup-number-{number:012}")
    found = json.loads(run("backups", LEDGER, "--limit", "120", "--json").stdout)
    assert [b["id"] for b in found] == [f"Backup-number-{n:012}" for n in range(129, 9, -1)]


def test_an_unknown_container_is_a_wrong_command_line_that_names_the_known(
    gateway: Gateway, run: Run
):
    fill(gateway)
    done = run("backups", "ledgr")
    assert done.stderr == "Error: There is no container ledgr; there are: ledger.\n"
    assert done.exit_code == 2


def test_a_backup_is_made_of_the_named_instance_with_a_key_of_its_own(gateway: Gateway, run: Run):
    fill(gateway)
    done = run("backup", "ledger", "2.ledger", "--json")
    assert json.loads(done.stdout)["state"] == "QUEUED"
    assert gateway.containers[0]["held"][0]["instance"] == "Instance-2.ledger-id"
    assert run("backup", "ledger", "--idempotency-key", "mine").exit_code == 0
    assert gateway.containers[0]["held"][0]["instance"] is None
    assert len(gateway.keys[0]) == 36
    assert gateway.keys[1] == "mine"


def test_a_followed_restore_shows_its_way_and_ends_with_what_came_out(gateway: Gateway, run: Run):
    fill(gateway)
    gateway.script = [HALF, DONE]
    done = run("restore", "latest", "2.ledger", "--follow")
    assert done.stderr.splitlines() == [
        "QUEUED: 0 B of 4.0 KiB, 1.0 KiB/s, 4s left",
        "TRANSFERRING: 2.0 KiB of 4.0 KiB, 1.0 KiB/s, 2s left",
        "SUCCEEDED: 4.0 KiB of 4.0 KiB, 1.0 KiB/s, 0s left",
    ]
    made = "Restore-made-by-the-client"
    assert done.stdout == f"Restore {made}: SUCCEEDED, 4.0 KiB, in 4s\n"
    assert gateway.containers[0]["made"][0]["backup"]["id"] == "Backup-newer-bbbbbbbbbbbb"
    assert gateway.subscriptions == 1
    assert done.exit_code == 0


def test_a_cut_socket_is_opened_again(gateway: Gateway, run: Run):
    fill(gateway)
    gateway.script = [HALF, DONE]
    gateway.cut_after = 1
    done = run("restore", "latest", "2.ledger", "--follow", "--json")
    assert json.loads(done.stdout)["state"] == "SUCCEEDED"
    assert gateway.subscriptions == 2


def test_where_no_socket_gets_through_a_restore_is_polled(gateway: Gateway, run: Run):
    fill(gateway)
    gateway.script = [HALF, DONE]
    gateway.with_sockets = False
    done = run("restore", "bbbbbbbbbbbb", "Instance-2.ledger-id", "--follow", "--json")
    assert json.loads(done.stdout)["state"] == "SUCCEEDED"
    assert gateway.subscriptions == 0


def test_a_followed_run_that_fails_is_told_with_its_reason_and_exit_code_1(
    gateway: Gateway, run: Run
):
    fill(gateway)
    error = {"code": "INPUT_NOT_READ", "message": "The command exited too early."}
    gateway.script = [HALF, {"state": "FAILED", "error": error}]
    done = run("restore", "latest", "2.ledger", "--follow")
    made = "Restore-made-by-the-client"
    reason = "INPUT_NOT_READ: The command exited too early."
    assert done.stderr.splitlines()[-2:] == [
        f"Error: Restore {made}: FAILED, {reason}",
        f"What it printed: backup-gateway logs {made}",
    ]
    assert done.stdout == ""
    assert done.exit_code == 1


def test_a_refused_mutation_is_told_as_a_sentence(gateway: Gateway, run: Run):
    fill(gateway)
    gateway.refusal = {
        "__typename": "InvalidStateError",
        "message": "The instance is busy.",
        "code": "INSTANCE_BUSY",
    }
    done = run("restore", "latest", "2.ledger", "--follow")
    assert done.stderr == "Error: The instance is busy. (INSTANCE_BUSY)\n"
    assert done.exit_code == 1


def test_backups_are_deleted_and_each_is_answered_for(gateway: Gateway, run: Run):
    fill(gateway)
    gateway.add_backup(gateway.containers[0], "Backup-saving-dddddddddddd", state="SAVING")
    done = run("delete", "aaaaaaaaaaaa", "Backup-saving-dddddddddddd")
    assert [line.split(maxsplit=1)[1].strip() for line in done.stdout.splitlines()] == [
        "RESULT",
        "DELETING",
        "refused, INVALID_STATE: It is being saved.",
    ]
    assert done.exit_code == 1


def test_nothing_is_deleted_where_one_name_is_unknown(gateway: Gateway, run: Run):
    fill(gateway)
    done = run("delete", "aaaaaaaaaaaa", "zzzzzzzzzzzz")
    assert done.stderr == "Error: There is no backup zzzzzzzzzzzz.\n"
    assert gateway.keys == []
    assert done.exit_code == 2


def test_latest_is_never_deleted(gateway: Gateway, run: Run):
    fill(gateway)
    assert run("delete", "latest").exit_code == 2
    assert gateway.keys == []


def test_an_end_of_an_id_that_fits_two_backups_is_refused(gateway: Gateway, run: Run):
    fill(gateway)
    gateway.add_backup(gateway.containers[0], "Backup-other-aaaa")
    done = run("delete", "aaaa")
    assert done.stderr == "Error: 2 ids end in aaaa: give more of it.\n"
    assert done.exit_code == 2


def test_a_log_is_printed_as_it_is_and_a_tail_of_stdout_is_marked(gateway: Gateway, run: Run):
    fill(gateway)
    gateway.log = [
        {"sequence": 0, "at": DONE["startedAt"], "stream": "STDERR", "text": "one\ntw"},
        {"sequence": 1, "at": DONE["startedAt"], "stream": "STDERR", "text": "o [bold]\n"},
    ]
    assert run("logs", "cccccccccccc").stdout == "one\ntwo [bold]\n"
    gateway.log = [{"sequence": 0, "at": DONE["startedAt"], "stream": "STDOUT_TAIL", "text": "end"}]
    assert run("logs", "cccccccccccc").stdout == (
        "--- the command printed no error; its output ended in:\nend\n"
    )


def test_cancel_finds_out_what_kind_of_run_it_is(gateway: Gateway, run: Run):
    fill(gateway)
    restore = gateway.add_restore(gateway.containers[0], "Restore-running-eeeeeeeeeeee")
    restore["instance"] = {"id": "i", "hostname": "2.ledger"}
    restore["backup"] = gateway.containers[0]["held"][0]
    assert run("cancel", "eeeeeeeeeeee").stdout.startswith(f"Restore {restore['id']}: CANCELED")
    assert run("cancel", "Backup-newer-bbbbbbbbbbbb").exit_code == 0
    assert gateway.containers[0]["held"][1]["state"] == "CANCELED"


def test_a_gateway_that_restarts_is_waited_for_and_the_key_stays_the_same(
    gateway: Gateway, run: Run
):
    fill(gateway)
    gateway.unavailable = 2
    assert run("backup", "ledger").exit_code == 0
    assert len(gateway.keys) == 1


def test_a_gateway_that_is_not_there_is_exit_code_3(run: Run):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    done = run("containers", "--url", url, "--token", "x")
    assert done.stderr.startswith(f"Error: {url}/graphql cannot be reached: ")
    assert done.exit_code == 3


def test_a_key_that_is_not_accepted_is_exit_code_3_and_never_printed(gateway: Gateway, run: Run):
    done = run("containers", "--url", gateway.url, "--token", "s3cr3t")
    assert done.stderr == "Error: The gateway does not accept the API key.\n"
    assert done.exit_code == 3


def test_the_data_folder_says_where_the_gateway_is(gateway: Gateway, run: Run, tmp_path):
    fill(gateway)
    (tmp_path / "credentials.toml").write_text(f'url = "{gateway.url}"\ntoken = "{TOKEN}"\n')
    assert run("containers", BACKUP_GATEWAY_LOG_LEVEL="INFO").exit_code == 0


def test_a_stored_key_goes_to_no_other_address(gateway: Gateway, run: Run, tmp_path):
    (tmp_path / "credentials.toml").write_text(f'url = "http://127.0.0.1:1"\ntoken = "{TOKEN}"\n')
    done = run("containers", BACKUP_GATEWAY_URL=gateway.url)
    assert "The gateway's API key is not known" in done.stderr
    assert done.exit_code == 2
