"""The operator's folders for hubs: what is accepted, and what is refused with every fault named."""

import os
from pathlib import Path
from uuid import UUID

import pytest

from app.errors import ExecutorNotAllowed, StartError
from app.executor.roots import ProcessRoot, check_roots, parse_roots

ONE, TWO = UUID(int=1), UUID(int=2)
ROOT = 0
POSTGRES = 70


def make_folder(path, uid=None, gid=None):
    """A folder; with another owner only where the tests may give it one."""
    path.mkdir(parents=True, mode=0o750)
    if uid is not None:
        os.chown(path, uid, uid if gid is None else gid)
    return path


def check(*entries, uid=ROOT):
    return check_roots(entries, worker_uid=uid, reserved={POSTGRES: "PostgreSQL"})


def test_hubs_and_folders_are_read_with_commas_or_lines():
    text = f" {ONE} = /srv/one ,\n{TWO}=/srv/a=b,\n"
    assert parse_roots(text) == [(ONE, Path("/srv/one")), (TWO, Path("/srv/a=b"))]


def test_an_empty_setting_allows_nothing():
    roots = check(*parse_roots(""))
    assert (roots.roots, roots.warning) == ({}, None)
    with pytest.raises(ExecutorNotAllowed, match="gives no folder of this host to this hub"):
        roots.of(ONE)


def test_every_fault_of_the_text_is_named_at_once():
    with pytest.raises(StartError) as failure:
        parse_roots(f"demo=/srv,{ONE}=srv/one,{TWO}")
    assert failure.value.message == (
        "BACKUP_GATEWAY_PROCESS_ROOTS: 'demo=/srv' does not begin with a hub's id and '='; "
        f"'{ONE}=srv/one' does not name an absolute path; "
        f"'{TWO}' does not name an absolute path."
    )


@pytest.mark.needs("root")
def test_a_roots_worker_runs_each_hub_as_the_owner_of_its_folder(tmp_path):
    one = make_folder(tmp_path / "one", 60001)
    two = make_folder(tmp_path / "two", 60002, 60003)
    roots = check((ONE, one), (TWO, two))
    assert roots.warning is None
    assert roots.of(ONE) == ProcessRoot(hub_id=ONE, path=one, owner=(60001, 60001))
    assert roots.of(TWO) == ProcessRoot(hub_id=TWO, path=two, owner=(60002, 60003))


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("uid", "gid", "words"),
    [
        (0, 0, "belongs to root (uid 0); give it a uid of its own: chown -R NUMBER:NUMBER "),
        (POSTGRES, POSTGRES, "belongs to PostgreSQL (uid 70)"),
        (60001, 0, "is root's; give it one of its own: chgrp -R 60001 "),
    ],
)
def test_an_owner_with_other_rights_is_refused(tmp_path, uid, gid, words):
    folder = make_folder(tmp_path / "hub", uid, gid)
    with pytest.raises(StartError) as failure:
        check((ONE, folder))
    assert words in failure.value.message
    assert str(folder) in failure.value.message


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("uid", "gid", "words"),
    [(60001, 60002, "the same owner, uid 60001"), (60002, 60001, "the same group, gid 60001")],
)
def test_two_hubs_never_share_an_owner_or_a_group(tmp_path, uid, gid, words):
    one = make_folder(tmp_path / "one", 60001)
    two = make_folder(tmp_path / "two", uid, gid)
    with pytest.raises(StartError) as failure:
        check((ONE, one), (TWO, two))
    assert failure.value.message.endswith(f"{one} and {two} have {words}.")


@pytest.mark.needs("root")
@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a", "a")])
def test_the_folders_of_hubs_are_never_one_inside_the_other(tmp_path, first, second):
    (tmp_path / "a" / "b").mkdir(parents=True)
    os.chown(tmp_path / "a", 60001, 60001)
    os.chown(tmp_path / "a" / "b", 60002, 60002)
    with pytest.raises(StartError, match="are not apart"):
        check((ONE, tmp_path / first), (TWO, tmp_path / second))


@pytest.mark.needs("root")
def test_folders_of_several_hubs_are_closed_to_each_other(tmp_path):
    one, two = make_folder(tmp_path / "one", 60001), make_folder(tmp_path / "two", 60002)
    one.chmod(0o751)
    assert check((ONE, one)).of(ONE).path == one
    with pytest.raises(StartError) as failure:
        check((ONE, one), (TWO, two))
    assert failure.value.message == (
        f"BACKUP_GATEWAY_PROCESS_ROOTS: {one} is open to other hubs; close it: chmod o-rwx {one}."
    )


@pytest.mark.needs("root")
def test_a_hub_is_listed_once(tmp_path):
    one, two = make_folder(tmp_path / "one", 60001), make_folder(tmp_path / "two", 60002)
    with pytest.raises(StartError, match=f"the hub {ONE} is listed twice"):
        check((ONE, one), (ONE, two))


def test_an_ordinary_worker_takes_one_hub_and_warns_of_it(tmp_path):
    folder = make_folder(tmp_path / "hub")
    roots = check((ONE, folder), uid=1000)
    assert roots.of(ONE) == ProcessRoot(hub_id=ONE, path=folder, owner=None)
    assert roots.warning == (
        "The worker does not run as root: the commands of the hub in "
        "BACKUP_GATEWAY_PROCESS_ROOTS can read everything that the gateway can."
    )


def test_an_ordinary_worker_cannot_keep_two_hubs_apart(tmp_path):
    one, two = make_folder(tmp_path / "one"), make_folder(tmp_path / "two")
    with pytest.raises(StartError, match="only a worker that runs as root"):
        check((ONE, one), (TWO, two), uid=1000)


@pytest.mark.parametrize("inner", ["", "below"])
def test_a_root_is_named_without_symbolic_links(tmp_path, inner):
    make_folder(tmp_path / "real" / "below")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StartError) as failure:
        check((ONE, tmp_path / "link" / inner), uid=1000)
    assert failure.value.message == (
        f"BACKUP_GATEWAY_PROCESS_ROOTS: {tmp_path / 'link' / inner} leads through a symbolic link; "
        f"name {tmp_path / 'real' / inner}."
    )


def test_a_root_must_be_there_and_be_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StartError) as failure:
        check((ONE, tmp_path / "none"), (TWO, tmp_path / "file"), uid=1000)
    assert failure.value.message == (
        f"BACKUP_GATEWAY_PROCESS_ROOTS: {tmp_path / 'none'} cannot be used: "
        f"No such file or directory; {tmp_path / 'file'} is not a folder."
    )
