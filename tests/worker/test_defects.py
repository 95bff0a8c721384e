"""What nobody expected, in a duty: people get the reference of its log line, and nothing else."""

import re

import pytest
from structlog.testing import capture_logs

from app.errors import StorageError
from app.storage.versions import read_version
from app.worker import adopt, probe, reconcile, recover
from tests.copies import parts_of
from tests.drift_calls import Bucket, our_name

REFERENCE = re.compile(
    r"Something went wrong here\. Tell the operator this reference: ([0-9a-f-]{36})"
)
SCAN = "select error_code, error_message from scans where kind = $1"


def fail(*_args, **_more):
    raise LookupError("what is inside")


async def reference_of(product, logs, query, *arguments):
    """What a record tells people, which is no more than where to look; the log has the rest."""
    async with product.owner.connection() as connection:
        code, message = await connection.fetchrow(query, *arguments)
    assert code == "INTERNAL"
    told = REFERENCE.fullmatch(message)
    assert told, message
    [line] = [line for line in logs if line.get("reference") == told[1]]
    assert "LookupError: what is inside" in line["trace"]
    return line


@pytest.mark.parametrize(
    ("kind", "duty", "broken"),
    [("RECONCILE", reconcile, "cut_page"), ("RECOVER", recover, "check_page")],
)
async def test_of_a_scan(product, monkeypatch, kind, duty, broken):
    async with product.owner.connection() as connection:
        start = """
        insert into scans (integration_id, hub_id, kind) select id, hub_id, $1 from integrations
        on conflict do nothing
        """
        await connection.execute(start, kind)
        phase = "LISTING" if kind == "RECONCILE" else "LOOKING"
        begin = "update scans set phase = $2, due_at = now(), started_at = now() where kind = $1"
        await connection.execute(begin, kind, phase)
    monkeypatch.setattr(duty, broken, fail)
    async with parts_of(product) as parts:
        with capture_logs() as logs:
            assert await duty.carry_out_due(parts) == 1
    line = await reference_of(product, logs, SCAN, kind)
    assert (line["scan"], line["phase"]) == (kind, phase)


async def test_of_an_adoption(product, monkeypatch):
    async with Bucket(product) as bucket, product.owner.connection() as connection:
        name = await our_name(product)
        file_id = await bucket.put(name)
        await connection.execute(
            """
            insert into drifts
                (hub_id, integration_id, kind, detail, name, file_id, size_bytes, uploaded_at,
                found_in, shown_at, adopt_at)
            select hub_id, id, 'ORPHAN', 'OBJECT', $1, $2, 1, now(), 1, now(), now()
            from integrations
            """,
            name,
            file_id,
        )
    monkeypatch.setattr(adopt, "find_manifest", fail)
    async with parts_of(product) as parts:
        with capture_logs() as logs:
            assert await adopt.carry_out_due(parts) == 1
    await reference_of(product, logs, "select error_code, error_message from drifts")


async def test_of_a_probe_which_leaves_an_integration_live(product, monkeypatch):
    async with product.owner.connection() as connection:
        await connection.execute("update integrations set check_at = now()")
    monkeypatch.setattr(probe, "_probe", fail)
    async with parts_of(product) as parts:
        with capture_logs() as logs:
            assert await probe.carry_out_due(parts) == 1
    await reference_of(product, logs, "select error_code, error_message from integrations")
    async with product.owner.connection() as connection:
        assert await connection.fetchval("select state from integrations") == "LIVE"


@pytest.mark.parametrize("answer", [{}, {"fileId": 1, "fileName": "x", "contentLength": "much"}])
def test_what_b2_answers_otherwise_than_it_says_is_no_defect_of_ours(answer):
    with pytest.raises(StorageError, match="not understood"):
        read_version(answer)
