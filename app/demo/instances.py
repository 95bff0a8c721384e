"""The demo's instances: folders with a directory tree and with a SQLite database."""

import hashlib
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from app.errors import StartError

TREE = "data"
DATABASE = "ledger.db"
ROWS = 20_000
FIRST_UID = 58_000
LAST_UID = 59_999
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"

DUMP = """\
# Writes a consistent copy of ledger.db to stdout, also while others write to it.
import os, shutil, sqlite3, sys, contextlib, glob

for left in glob.glob(".dump-*"):
    os.unlink(left)
copy = f".dump-{os.getpid()}"
with contextlib.closing(sqlite3.connect("ledger.db", timeout=60)) as source:
    rows = source.execute("select count(*) from entries").fetchone()[0]
    with contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
with open(copy, "rb") as stream:
    os.unlink(copy)
    shutil.copyfileobj(stream, sys.stdout.buffer, 1 << 20)
print(f"dumped ledger.db, at least {rows} entries", file=sys.stderr)
"""

LOAD = """\
# Puts the copy on stdin in the place of ledger.db, once all of it is here and proved whole.
import os, shutil, sqlite3, sys, contextlib

with open(".load", "wb") as stream:
    shutil.copyfileobj(sys.stdin.buffer, stream, 1 << 20)
    stream.flush()
    os.fsync(stream.fileno())
with contextlib.closing(sqlite3.connect(".load")) as copy:
    answer = copy.execute("pragma integrity_check").fetchone()[0]
    rows = copy.execute("select count(*) from entries").fetchone()[0]
if answer != "ok":
    sys.exit(f"the copy is damaged: {answer}")
for left in ("ledger.db-wal", "ledger.db-shm"):
    if os.path.exists(left):
        os.unlink(left)
os.replace(".load", "ledger.db")
print(f"loaded ledger.db, {rows} entries", file=sys.stderr)
"""

SAVE_TREE = f"tar -cf - -C {TREE} ."
LOAD_TREE = (
    f"rm -rf .incoming && mkdir .incoming && tar -xpf - -C .incoming"
    f" && rm -rf {TREE} && mv .incoming {TREE}"
)


def find_python(search_path: str = SEARCH_PATH) -> str:
    """A Python that the demo's commands can run: not one in a folder that is closed to others.

    Raises StartError where there is none.
    """
    found = shutil.which("python3", path=search_path)
    if found is None and os.geteuid() != 0:
        found = shutil.which("python3")
    if found is None:
        raise StartError(
            "The demo's `ledger` needs a python3 in /usr/bin or /usr/local/bin"
            " (on Debian: apt install python3)."
        )
    return found


def check_programs(search_path: str = SEARCH_PATH) -> None:
    """Raise StartError where a program that the demo's commands use is missing."""
    for program in ("sh", "tar"):
        if shutil.which(program, path=search_path) is None:
            raise StartError(f"The demo's commands need `{program}`: install it and try again.")
    find_python(search_path)


def make_instances(root: Path) -> None:
    """Make the folders where they are missing, with an account of their own where this is root.

    Raises OSError.
    """
    if not root.exists():
        making = root.with_name(root.name + ".new")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        for number in (1, 2):
            _make_notes(making / f"{number}.notes", number)
            _make_ledger(making / f"{number}.ledger", ROWS if number == 1 else 0)
        uid = _find_free_uid(root.parent) if os.geteuid() == 0 else None
        for folder, _, files in os.walk(making):
            Path(folder).chmod(0o700)
            if uid is not None:
                os.chown(folder, uid, uid)
                for file in files:
                    os.chown(Path(folder, file), uid, uid, follow_symlinks=False)
        making.rename(root)
    root.chmod(0o700)


def _find_free_uid(parent: Path) -> int:
    """A uid that no account has: one that stays the same for the same folder, if it can."""
    digest = hashlib.sha256(os.fsencode(parent)).digest()
    span = LAST_UID - FIRST_UID + 1
    start = int.from_bytes(digest[:4]) % span
    taken = {int(line.split(":")[2]) for line in Path("/etc/passwd").read_text().splitlines()}
    return next(
        uid for step in range(span) if (uid := FIRST_UID + (start + step) % span) not in taken
    )


def _make_notes(folder: Path, number: int) -> None:
    tree = folder / TREE
    (tree / "projects").mkdir(parents=True)
    (tree / "README.md").write_text(f"# Notes of instance {number}\n\nBack me up.\n")
    for day in range(1, 8):
        note = tree / "projects" / f"day-{day}.md"
        note.write_text(f"# Day {day}\n\n" + f"Instance {number} wrote this line.\n" * 200)
    (tree / "latest").symlink_to("projects/day-7.md")


def _make_ledger(folder: Path, rows: int) -> None:
    folder.mkdir(parents=True)
    (folder / "dump.py").write_text(DUMP)
    (folder / "load.py").write_text(LOAD)
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.execute("pragma journal_mode = wal")
        database.execute(
            "create table entries (id integer primary key, account text, cents int, memo text)"
        )
        database.executemany(
            "insert into entries (account, cents, memo) values (?, ?, ?)",
            (
                (f"account-{n % 97}", n * 7919 % 100_000, hashlib.sha256(b"%d" % n).hexdigest())
                for n in range(rows)
            ),
        )
