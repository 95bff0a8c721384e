"""Pytest plugin: only a missing program leaves a test out, and in CI nothing does.

`@pytest.mark.needs("rclone", "root")` leaves a test out where one is missing; the fixture
`program("rclone")` does the same from within and gives its path. What was left out is listed at
the end of the run. With `CI` set it fails instead, and any other skip or xfail fails always.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MISSING = "missing program: "
NODE_CLIENTS = ROOT / "tests/clients/node/node_modules"
NAMES = {
    "b2": (os.environ.get("B2_TOOL", str(ROOT / ".venv-b2/bin/b2")),),
    "ariadne-codegen": (str(ROOT / ".venv-codegen/bin/ariadne-codegen"),),
    "chromium": ("chromium", "chromium-headless-shell", "google-chrome"),
}
INSTALL = {
    "b2": "make test makes it in .venv-b2",
    "ariadne-codegen": "make test makes it in .venv-codegen",
    "node-clients": "make test installs them where npm is: apt install nodejs npm",
    "root": "run as root",
    "dockerd": "on Debian: apt install docker.io",
    "busybox": "on Debian: apt install busybox-static",
    "promtool": "on Debian: apt install prometheus",
}


def find_program(name: str) -> Path | None:
    """Give the program's path; for `root`, which is no program, any path where this is root.

    `node-clients` stands for Node and the packages that run in it.
    """
    if name == "root":
        return Path("/") if os.geteuid() == 0 else None
    if name == "node-clients":
        return NODE_CLIENTS if shutil.which("node") and NODE_CLIENTS.is_dir() else None
    for candidate in NAMES.get(name, (name,)):
        if found := shutil.which(candidate):
            return Path(found)
    return None


def need_program(name: str) -> Path:
    """Give the program's path, or leave the test out."""
    found = find_program(name)
    if found is None:
        pytest.skip(MISSING + name)
    return found


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    return need_program


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "matrix: part of `make chaos`, not of `make test`")
    config.addinivalue_line("markers", "needs(*programs): leave the test out where one is missing")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            need_program(name)


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure, unless a program is missing and this is not CI."""
    if report.outcome != "skipped":
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    missing = MISSING in reason
    if missing and not os.environ.get("CI"):
        return
    report.outcome = "failed"
    rule = (
        "in CI nothing may be left out" if missing else "only a missing program leaves a test out"
    )
    report.longrepr = f"{reason} ({rule}; see {Path(__file__).name})"
    vars(report).pop("wasxfail", None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_skip(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out: defaultdict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.getreports("skipped"):
        if isinstance(report.longrepr, tuple):
            left_out[report.longrepr[2].rpartition(MISSING)[2]].append(report.nodeid)
    if not left_out:
        return
    terminalreporter.section("left out for want of a program")
    for name, nodeids in sorted(left_out.items()):
        hint = INSTALL.get(name, f"on Debian: apt install {name}")
        terminalreporter.write_line(f"{name} ({hint}): {len(nodeids)} tests")
        for nodeid in sorted(nodeids):
            terminalreporter.write_line(f"    {nodeid}")
