"""Measures the product: `python tests/benchmarks [--quick] [-k transfer]`. No verdicts on speed."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

if __name__ == "__main__":
    options = ["-q", "-s", "-p", "no:randomly", "-p", "no:cacheprovider", "-o", "timeout=1800"]
    files = ["-o", "python_files=bench_*.py", "-o", "python_functions=measure_*"]
    sys.exit(pytest.main([*options, *files, *sys.argv[1:], str(HERE)]))
