"""The source itself: linters, types, layers, SQL lint and the house rules, as test cases."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
MAX_LINES = 450
ROLE = re.compile(r"(?<!:):(gateway|worker)\b")

pytestmark = pytest.mark.timeout(180)  # mypy without a cache, on a busy machine


def run(*command: str | Path, text: str | None = None) -> None:
    """Run a tool in the repository; its words are the failure."""
    done = subprocess.run(
        command, cwd=ROOT, input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- the tools --------------------------------------------------------------------------------


def test_ruff_finds_nothing():
    run(BIN / "ruff", "check", "--quiet", ".")


def test_every_file_is_formatted():
    run(BIN / "ruff", "format", "--check", "--quiet", ".")


def test_the_types_are_right():
    run(BIN / "mypy")


def test_imports_go_down_only():
    run(BIN / "lint-imports", "--no-logo", "--no-cache")


@pytest.mark.parametrize(
    "migration", sorted((ROOT / "db/migrations").glob("*.sql")), ids=lambda path: path.name
)
def test_the_migration_is_safe_to_run(migration: Path):
    """Squawk does not know the placeholders of the two role names, so it sees real names."""
    sql = ROLE.sub(r"backup_gateway_\1", migration.read_text())
    run(BIN / "squawk", "-c", "db/squawk.toml", "--stdin-filepath", migration.name, text=sql)


IMPORT_ALL = """
import importlib, pkgutil, sys, threading
def import_all():
    import app
    for module in pkgutil.walk_packages(app.__path__, "app."):
        importlib.import_module(module.name)
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import_all()  # what the libraries do when they are imported is theirs
for name in [name for name in sys.modules if name.partition(".")[0] == "app"]:
    del sys.modules[name]
forbidden = {"socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.mkdir"}
def watch(event, arguments):
    if event in forbidden:
        raise SystemExit(f"{event} {arguments} at import")
sys.addaudithook(watch)
import_all()
if threading.active_count() != 1:
    raise SystemExit(f"a thread was started at import: {threading.enumerate()}")
"""


def test_nothing_happens_at_import():
    """With no environment at all, and every way out watched: no socket, process, folder, thread."""
    run("env", "-i", sys.executable, "-I", "-c", IMPORT_ALL, str(ROOT))


@pytest.mark.parametrize(
    ("effect", "told"),
    [
        ("import socket; socket.create_server(('127.0.0.1', 0)).close()", "socket.bind"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import threading; threading.Timer(1, print).start()", "a thread was started"),
    ],
)
def test_an_effect_at_import_is_found(tmp_path: Path, effect: str, told: str):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").write_text("")
    (tmp_path / "app/bad.py").write_text(effect)
    with pytest.raises(AssertionError, match=told):
        run("env", "-i", sys.executable, "-I", "-c", IMPORT_ALL, str(tmp_path))


# --- the house rules ----------------------------------------------------------------------------

Rule = Callable[[str, str], Iterator[str]]
"""Takes a path inside the repository and the file's text; gives one sentence for each fault."""

RUN_STATE = re.compile(
    r"\bupdate\s+(?:only\s+)?(?:backups|restores|verifications)\b"
    r"(?:(?!\b(?:where|from|returning)\b|;).)*?(?:\bset|,)\s+state\s*=",
    re.IGNORECASE | re.DOTALL,
)


def find_mocks(path: str, text: str) -> Iterator[str]:
    """Tests use the real thing, or a fake in tests/fakes that is a real part itself."""
    for node in walk(path, text):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = {alias.name for alias in node.names}
            if "mock" in {module, *names} or module.startswith("unittest") or "unittest" in names:
                yield f"line {node.lineno}: unittest.mock"
        elif isinstance(node, ast.arg) and node.arg == "mocker":
            yield f"line {node.lineno}: the mocker fixture"


def find_state_writers(path: str, text: str) -> Iterator[str]:
    """States of runs move in one place, where the epoch is checked; tests go through it too."""
    if path in {"db/queries/runs.sql", "tests/test_source.py"}:
        return
    if path.startswith("db/queries/"):
        texts = [text]
    else:
        texts = [
            node.value
            for node in walk(path, text)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    for sql in texts:
        if found := RUN_STATE.search(sql):
            yield f"a run's state is written outside db/queries/runs.sql: {found.group()!r}"


def find_transactions(path: str, text: str) -> Iterator[str]:
    """One use case is one transaction, and a use case lives in app/service."""
    if not path.startswith("app/") or path.startswith(("app/service/", "app/postgres/")):
        return
    if path == "app/worker/scheduler.py":
        return
    for node in walk(path, text):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "transaction"
        ):
            yield f"line {node.lineno}: transaction( outside app/service"


def find_import_effects(path: str, text: str) -> Iterator[str]:
    """A call for its effect at module level; `strawberry.enum(model.State)` only names a type."""
    if not path.startswith("app/") or path == "app/api/enums.py":  # that one names types too
        return
    for node in ast.parse(text).body if path.endswith(".py") else ():
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = ast.unparse(node.value.func)
            if call != "strawberry.enum":
                yield f"line {node.lineno}: {call}() runs at import"


def find_missing_duty(path: str, text: str) -> Iterator[str]:
    """A module opens with one sentence: its duty."""
    if not path.endswith(".py"):
        return
    first = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
    if not first.endswith("."):
        yield "the module does not open with a sentence that says its duty"


def find_long_modules(path: str, text: str) -> Iterator[str]:
    """A long module holds a second noun, or a layer is missing."""
    if path.endswith(".py") and (lines := text.count("\n")) > MAX_LINES:
        yield f"{lines} lines, more than {MAX_LINES}"


def find_type_checking(path: str, text: str) -> Iterator[str]:
    """Needing TYPE_CHECKING means that a layer is wrong."""
    for node in walk(path, text):
        if isinstance(node, ast.ImportFrom) and "TYPE_CHECKING" in {n.name for n in node.names}:
            yield f"line {node.lineno}: TYPE_CHECKING"


def find_vague_names(path: str, _text: str) -> Iterator[str]:
    """Files are plural nouns; what fits nowhere does not go into a drawer."""
    if set(Path(path).with_suffix("").parts) & {"utils", "helpers", "common", "manager", "misc"}:
        yield "the name says nothing: name the noun that it is about"


def find_unfinished(path: str, text: str) -> Iterator[str]:
    """What is not finished is not committed."""
    if path.endswith((".py", ".sql")) and (
        found := re.search(r"\b(TO[D]O|FIX[M]E|X[X]X|NotImplemented[E]rror)\b", text)
    ):
        yield f"unfinished: {found.group()}"


def find_forbidden_words(path: str, text: str) -> Iterator[str]:
    """Nobody else has one machine's folders, and a lock that names a host binds its users."""
    hosts = r"pypi[.]org|pythonhosted[.]org|registry[.]npmjs[.]org|deb[.]debian[.]org"
    if found := re.search(rf"/[w]ork/|{hosts}", text):
        yield f"names a place that others do not have: {found.group()}"
    if re.search(r"requirements|lock", path) and re.search(
        r"https?:/[/]|--(extra-)?index-url", text
    ):
        yield "a lock file names an address"


RULES_AND_BAD_EXAMPLES: list[tuple[Rule, str, str]] = [
    (find_mocks, "tests/test_x.py", "from unittest import mock"),
    (find_mocks, "tests/test_x.py", "import unittest.mock as m\nfrom unittest.mock import Mock"),
    (find_mocks, "tests/test_x.py", "def test_x(mocker): ..."),
    (
        find_state_writers,
        "db/queries/backups.sql",
        "update backups set state = 'LIVE' where id = $1",
    ),
    (find_state_writers, "db/queries/x.sql", "update restores r\nset note = 'a', state = 'FAILED'"),
    (find_state_writers, "tests/test_x.py", "q = 'update backups set size = 1, state = $1'"),
    (find_transactions, "app/api/x.py", "async with database.transaction(hub): ..."),
    (find_import_effects, "app/api/x.py", "'''A.'''\nconnect()"),
    (find_missing_duty, "app/api/x.py", "'''no sentence'''"),
    (find_missing_duty, "app/api/__init__.py", ""),
    (find_long_modules, "app/api/x.py", "x = 1\n" * (MAX_LINES + 1)),
    (find_type_checking, "app/api/x.py", "from typing import TYPE_CHECKING"),
    (find_vague_names, "app/api/utils.py", ""),
    (find_vague_names, "app/common/x.py", ""),
    (find_unfinished, "app/api/x.py", "# TO" + "DO: later"),
    (find_unfinished, "app/api/x.py", "raise NotImplemented" + "Error"),
    (find_forbidden_words, "README.md", "cd /" + "work/main"),
    (find_forbidden_words, "requirements.txt", "--index-url x"),
    (find_forbidden_words, "package-lock.json", "https" + "://example.com/x.tgz"),
    (find_forbidden_words, "Dockerfile", "pypi" + ".org"),
]
RULES = list(dict.fromkeys(rule for rule, _, _ in RULES_AND_BAD_EXAMPLES))


def walk(path: str, text: str) -> Iterator[ast.AST]:
    """Every node of a Python file, none of another one."""
    return ast.walk(ast.parse(text)) if path.endswith(".py") else iter(())


def read_sources() -> Iterator[tuple[str, str]]:
    """Every text file that git knows or would take, by its path inside the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for path in filter(None, listed.stdout.split("\0")):
        try:
            yield path, (ROOT / path).read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # a binary file, or one that was just removed


@pytest.mark.parametrize(
    ("rule", "path", "bad"),
    RULES_AND_BAD_EXAMPLES,
    ids=[f"{rule.__name__}-{i}" for i, (rule, _, _) in enumerate(RULES_AND_BAD_EXAMPLES)],
)
def test_the_rule_finds_its_bad_example(rule: Rule, path: str, bad: str):
    assert list(rule(path, bad))


def test_reading_a_state_is_no_writing_of_it():
    sql = "update backups set bytes = 1 where state = 'SAVING' returning id, state"
    assert list(find_state_writers("db/queries/backups.sql", sql)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_rule(rule: Rule):
    faults = [f"{path}: {fault}" for path, text in read_sources() for fault in rule(path, text)]
    assert faults == [], rule.__doc__
