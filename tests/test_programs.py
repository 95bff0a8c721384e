"""The plugin that lets a test be left out: only for a missing program, and in CI never."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)  # each starts a pytest of its own, on a busy machine
ROOT = Path(__file__).parents[1]
LEAVES_OUT = """
import pytest
@pytest.mark.needs("sh", "no-such-program")
def test_by_mark(): pass
def test_by_fixture(program): program("no-such-program")
@pytest.mark.needs("sh")
def test_that_runs(program): assert program("sh").is_file()
"""


def run_pytest(folder: Path, sources: list[str], **environment: str) -> tuple[int, str]:
    """Give pytest's exit code and output over files test_0.py, test_1.py ..."""
    for number, source in enumerate(sources):
        (folder / f"test_{number}.py").write_text(source)
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "B2_TOOL"}}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.programs", "-rfE"],
        cwd=folder,
        env={
            **kept,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # it starts much faster without them
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_what_is_left_out_is_listed_at_the_end(tmp_path: Path):
    code, output = run_pytest(tmp_path, [LEAVES_OUT])
    assert code == 0
    listed = (
        "no-such-program (on Debian: apt install no-such-program): 2 tests\n"
        "    test_0.py::test_by_fixture\n"
        "    test_0.py::test_by_mark\n"
    )
    assert listed in output.partition("left out for want of a program")[2]
    assert "1 passed, 2 skipped" in output


def test_in_ci_nothing_is_left_out(tmp_path: Path):
    code, output = run_pytest(tmp_path, [LEAVES_OUT], CI="true")
    assert code == 1
    assert "missing program: no-such-program (in CI nothing may be left out" in output
    assert "1 failed, 1 passed, 1 error" in output


OTHER_SKIPS = [
    "import pytest\ndef test_x(): pytest.skip('not today')",
    "import pytest\n@pytest.mark.skip\ndef test_x(): pass",
    "import pytest\n@pytest.mark.skipif(True, reason='no')\ndef test_x(): pass",
    "import pytest\n@pytest.mark.xfail\ndef test_x(): assert False",
]
OTHER_SKIPS_OF_MODULES = [
    "import pytest\npytest.skip('all of it', allow_module_level=True)",
    "import pytest\npytest.importorskip('no_such_module')",
]


@pytest.mark.parametrize("sources", [OTHER_SKIPS, OTHER_SKIPS_OF_MODULES], ids=["tests", "modules"])
def test_no_other_skip_is_let_through(tmp_path: Path, sources: list[str]):
    code, output = run_pytest(tmp_path, sources)
    refused = "only a missing program leaves a test out"
    assert output.partition("short test summary info")[0].count(refused) == len(sources)
    assert "skipped" not in output
    assert code in {1, 2}
