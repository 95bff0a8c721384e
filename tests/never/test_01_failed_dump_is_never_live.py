"""Point 1: a failed dump is never a backup."""

import pytest

# Each writes something that looks like a backup, or nothing, and must not become one.
FAILING = {
    "exits 1 after everything": ("printf data; exit 1", "COMMAND_FAILED", 1, "data"),
    "exits 0 without a byte": ("true", "OUTPUT_TOO_SMALL", 0, ""),
    "is killed in the middle": (
        "head -c 3000000 /dev/zero; kill -9 $$",
        "COMMAND_KILLED",
        137,
        None,
    ),
    "writes only to stderr": ("echo oops >&2", "OUTPUT_TOO_SMALL", 0, "oops\n"),
    "fails and says why": ("printf data; echo broken >&2; exit 3", "COMMAND_FAILED", 3, "broken\n"),
    "is not found": ("/no/such/program", "COMMAND_FAILED", 127, None),
}


@pytest.mark.parametrize("what", FAILING)
async def test_a_failed_dump_is_never_live(product, what):
    command, code, exit_code, log = FAILING[what]
    load = await product.workload("db", backup=command, instances=1)
    async with product.working():
        backup = await product.back_up(load)
        assert backup["state"] == "FAILED"
        assert backup["error"]["code"] == code
        assert backup["exitCode"] == exit_code
        if log is not None:
            assert "".join(n["text"] for n in backup["logs"]["nodes"]) == log
        await product.nothing_left()
    await product.no_processes()
