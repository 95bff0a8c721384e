"""What stands in the way of a start is told in a sentence, without a trace; exit code 2."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from app.demo.instances import check_programs
from app.errors import StartError
from app.wiring.home import Home, check_whole, open_home, read_credentials
from tests.fakes.new_user import NewUser, wait_until

pytestmark = pytest.mark.timeout(200)  # each starts a program, some a server, on a busy machine


def refused(user: NewUser, *arguments: str, **environment: str) -> str:
    """What `up` says where it does not start."""
    done = user.run("up", *arguments, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert user.processes() == []
    return done.stderr.partition("Error: ")[2]


def stop(user: NewUser) -> None:
    """Make the data folder by a start, and end that."""
    up = user.start().greeted()
    up.press_ctrl_c()
    assert up.ended() == 0


def test_a_port_in_use(user: NewUser):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(user, PORT=str(port)) == (
            f"Port {port} of 127.0.0.1 cannot be used: Address already in use."
            " Choose another one: PORT=8080 make up\n"
        )


def test_a_host_that_others_can_reach(user: NewUser):
    said = refused(user, HOST="0.0.0.0")
    assert "HOST=0.0.0.0 can be reached by others" in said
    assert "--allow-remote" in said


def test_a_host_that_others_can_reach_where_that_is_wanted(user: NewUser):
    up = user.start("--allow-remote", HOST="0.0.0.0").greeted()
    assert up.url.startswith("http://127.0.0.1:")
    assert len(user.json("containers")) == 2


def test_a_host_that_is_not_of_this_machine(user: NewUser):
    said = refused(user, "--allow-remote", HOST="192.0.2.1")
    assert said.startswith("Port 0 of 192.0.2.1 cannot be used: Cannot assign requested address.")


def test_a_file_in_the_place_of_the_data_folder(user: NewUser):
    user.home.write_text("")
    assert refused(user) == f"The data folder {user.home} is a file, not a folder.\n"


def test_a_data_folder_below_a_file(user: NewUser):
    (user.top / "file").write_text("")
    home = user.top / "file" / "data"
    assert refused(user, BACKUP_GATEWAY_HOME=str(home)) == (
        f"The data folder {home} cannot be used: Not a directory."
        " Name another one by BACKUP_GATEWAY_HOME.\n"
    )


def test_a_data_folder_that_cannot_be_written(user: NewUser):
    """/proc is closed to root as well."""
    said = refused(user, BACKUP_GATEWAY_HOME="/proc/data")
    assert said.startswith("The data folder /proc/data cannot be used: No such file or directory.")


@pytest.mark.needs("root")
def test_a_data_folder_that_postgresql_cannot_reach(user: NewUser):
    user.top.chmod(0o700)
    said = refused(user)
    assert f"cannot reach {user.home}/postgres: choose another folder" in said


def test_a_data_folder_that_was_damaged(user: NewUser):
    """Each is told apart; and when all is brought back, all is there."""
    stop(user)
    version = user.home / "postgres/data/PG_VERSION"
    made_by = version.read_text()
    version.write_text("9\n")
    said = refused(user)
    assert said.startswith(f"{user.home}/postgres/data was made by PostgreSQL 9, but the programs")
    version.rename(user.home / "away")
    said = refused(user)
    assert said.startswith(f"{user.home}/postgres/data is not a whole PostgreSQL data folder.")
    (user.home / "away").rename(version)
    version.write_text(made_by)

    file = user.home / "secret.key"
    kept = file.read_text()
    file.unlink()
    assert refused(user) == (
        f"{file} is missing, but the stored secrets were sealed by it: bring it back.\n"
    )
    file.write_text("")
    assert refused(user) == f"{file} is empty, but the stored secrets were sealed by it.\n"
    file.write_bytes(b"\xff\xfe damaged")
    assert refused(user) == (
        f"{file} is damaged, but the stored secrets were sealed by it: bring it back.\n"
    )
    file.write_text(kept)

    (user.home / "credentials.toml").write_text('url = 1\ntoken = "bg_0_x"\n')
    up = user.start().greeted()
    assert f'token = "{up.token}"' in (user.home / "credentials.toml").read_text()
    assert len(user.json("containers")) == 2


def test_a_data_folder_that_has_lost_a_part_is_not_begun_anew(tmp_path: Path):
    home = open_home(tmp_path)
    check_whole(home)
    for part in (home.postgres / "data", home.b2 / "data"):
        part.mkdir(parents=True)
    (home.b2 / "master-key.json").touch()
    home.demo_is_made.touch()
    check_whole(home)
    for part in (home.postgres / "data", home.b2 / "data"):
        part.rmdir()
        with pytest.raises(StartError, match=f"{part} is missing, but an earlier start"):
            check_whole(home)
        part.mkdir()
    (home.b2 / "master-key.json").unlink()
    with pytest.raises(StartError, match=r"master-key\.json is missing"):
        check_whole(home)


@pytest.mark.parametrize("content", ["not toml [", 'url = "x"\n', None])
def test_credentials_that_cannot_be_read_are_none(tmp_path: Path, content: str | None):
    """Then a new key is made."""
    home = Home(path=tmp_path)
    if content is not None:
        home.credentials.write_text(content)
    assert read_credentials(home) is None


@pytest.mark.parametrize("program", ["sh", "tar"])
def test_a_program_that_is_missing_is_named(program: str, tmp_path: Path):
    for name in {"sh", "tar", "python3"} - {program}:
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    with pytest.raises(StartError, match=f"^The demo's commands need `{program}`: install it"):
        check_programs(str(tmp_path))


def test_the_embedded_b2_cannot_start(user: NewUser):
    user.home.mkdir()
    (user.home / "b2").write_text("")
    said = refused(user)
    assert said.endswith(f"The embedded B2 could not start in {user.home}/b2.\n")


def test_the_embedded_b2_is_started_again(user: NewUser):
    """Also after a start of it failed, on the same port: runs find it again."""
    user.start().greeted()
    found = subprocess.run(
        ("pgrep", "-f", f"local_server {user.home}/b2"), capture_output=True, text=True, check=True
    )
    (user.home / "b2").rename(user.home / "away")
    (user.home / "b2").write_text("")
    os.kill(int(found.stdout), signal.SIGKILL)
    up = user.started[0]
    wait_until(lambda: up.logged.count("the embedded B2 could not be started") >= 2)
    (user.home / "b2").unlink()
    (user.home / "away").rename(user.home / "b2")
    assert user.json("backup", "notes", "1.notes", "--follow")["state"] == "LIVE"


def test_with_a_database_of_ones_own_there_is_nothing_until_it_is_made(user: NewUser, dsn: str):
    """No hub, no key, no executor, no demo; each lacking thing is named."""
    assert refused(user, DATABASE_URL=dsn).startswith(
        "With DATABASE_URL the secrets in the database need BACKUP_GATEWAY_SECRET_KEY."
    )
    settings = {
        "DATABASE_URL": dsn,
        "BACKUP_GATEWAY_SECRET_KEY": user.done("secret-key").strip(),
    }
    up = user.start(**settings).greeted()
    assert "API key" not in up.told
    assert "Keys:     backup-gateway hub create NAME" in up.told
    assert not user.home.exists()
    assert user.run("hub", "create", "acme", **settings).returncode == 0
    made = user.run("key", "create", "acme", **settings)
    assert made.returncode == 0
    known = {"BACKUP_GATEWAY_URL": up.url, "BACKUP_GATEWAY_TOKEN": made.stdout.strip()}
    listed = user.run("containers", "--json", **known)
    assert (listed.returncode, listed.stdout.strip()) == (0, "[]")
    unknown = user.run("key", "create", "nobody", **settings)
    assert (unknown.returncode, unknown.stderr) == (1, "Error: There is no hub 'nobody'.\n")


def test_a_database_that_does_not_answer(user: NewUser):
    key = user.done("secret-key").strip()
    said = refused(
        user, DATABASE_URL="postgresql://u:hush-hush@127.0.0.1:1/x", BACKUP_GATEWAY_SECRET_KEY=key
    )
    assert "hush-hush" not in said
    assert len(said) > 20
