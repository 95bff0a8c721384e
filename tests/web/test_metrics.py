"""Metrics: figures of all hubs together, no hub's name, and alerts over exactly these figures."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.model.drifts import DriftKind
from app.model.events import EventKind, NewEvent
from app.postgres.pool import Database
from app.service.events import record_event
from app.settings import Settings
from app.web.metrics import SHOWN, create_metrics_app
from app.wiring.programs import bind_metrics, tell_metrics
from tests.builders import a_failed_backup, a_live_backup, a_queued_backup, a_stage, an_instance

CASES = Path(__file__).with_name("prometheus_rules_test.yaml")
RULES = Path(__file__).parents[2] / "deploy/prometheus-rules.yaml"

HOUR = timedelta(hours=1)
LATE = """
insert into schedules (hub_id, container_id, due_at, next_at, expected_by)
select hub_id, id, now(), now() - $3::interval, now() - $2::interval
from containers where id = $1
"""
DRIFTS = """
insert into drifts (
    hub_id, integration_id, kind, detail, name, file_id, found_in, shown_at, resolved_at
)
select
    hub_id, id, kind, 'OBJECT', 'x', n::text, 1, shown_at::timestamptz, resolved_at::timestamptz
from (select hub_id, id from integrations limit 1) as one, (values
    (1, 'MISSING', now(), null), (2, 'MISSING', now(), now()), (3, 'ORPHAN', null, null)
) as given (n, kind, shown_at, resolved_at)
"""


async def scrape(database: Database) -> httpx.Response:
    transport = httpx.ASGITransport(app=create_metrics_app(database))
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        return await client.get("/metrics")


def read(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and labels."""
    return {
        (sample.name.removeprefix("backup_gateway_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_figures_are_of_all_hubs_and_name_none(
    owner: Database, gateway_database: Database, worker_database: Database
) -> None:
    stages = [await a_stage(owner, gateway_database, worker_database) for _ in "ab"]
    for stage in stages:
        await a_live_backup(gateway_database, worker_database, stage)
        await a_failed_backup(gateway_database, worker_database, stage)
        instance = await an_instance(gateway_database, stage.admin, stage.container)
        await a_queued_backup(gateway_database, stage, instance=instance)
    async with owner.connection() as connection:
        ids = [stage.container.id for stage in stages]
        # One is late by its time, of the other nobody carried out the time.
        await connection.execute(LATE, ids[0], HOUR, -HOUR)
        await connection.execute(LATE, ids[1], None, 2 * HOUR)
        await connection.execute(DRIFTS)
        await connection.execute(
            "update integrations set unreachable_told = true where hub_id = $1",
            stages[0].admin.hub_id,
        )
    async with worker_database.transaction(None) as connection:
        new = NewEvent(kind=EventKind.DRIFT_FOUND, message="x")
        await record_event(connection, stages[0].admin.hub_id, new)
    answer = await scrape(worker_database)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = read(answer.text)
    for place, value in {
        ("runs", "backup", "waiting"): 2,
        ("runs", "backup", "running"): 0,
        ("runs", "restore", "waiting"): 0,
        ("runs_ended_last_hour", "backup", "succeeded"): 2,
        ("runs_ended_last_hour", "backup", "failed"): 2,
        ("runs_ended_last_hour", "restore", "failed"): 0,
        ("integrations", "LIVE"): 1,
        ("integrations", "UNREACHABLE"): 1,
        ("integrations", "FAILED"): 0,
        ("scheduled_containers",): 2,
        ("overdue_containers",): 2,
        ("drifts", "MISSING"): 1,
        ("drifts", "ORPHAN"): 0,
        ("events_last_day", "DRIFT_FOUND"): 1,
        ("events_last_day", "BACKUP_OVERDUE"): 0,
        ("waiting_work", "webhooks"): 0,
    }.items():
        assert found[place] == value, place
    assert found["waiting_work", "queue"] >= 2
    assert found["waiting_work", "reclaims"] >= 2
    assert 3600 <= found["oldest_overdue_seconds",] < 3700
    assert 0 < found["oldest_waiting_run_seconds", "backup"] < 60
    async with owner.connection() as connection:
        hubs = await connection.fetch("select id::text, name from hubs")
        now = await connection.fetchval("select extract(epoch from now())::float8")
    assert now - 60 < found["last_success_timestamp_seconds", "backup"] <= now
    assert ("last_success_timestamp_seconds", "restore") not in found
    for id, name in hubs:
        assert id not in answer.text
        assert name not in answer.text


async def test_a_reading_is_kept_for_some_seconds(worker_database: Database) -> None:
    transport = httpx.ASGITransport(app=create_metrics_app(worker_database))
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        first = await client.get("/metrics")
        async with worker_database.connection(None) as connection:
            before = await connection.fetchval("select now()")
        assert before is not None
        await worker_database.aclose()
        assert (await client.get("/metrics")).text == first.text
        assert (await client.get("/")).status_code == 404


async def test_every_alert_is_about_figures_that_there_are(
    owner: Database, gateway_database: Database, worker_database: Database
) -> None:
    stage = await a_stage(owner, gateway_database, worker_database)
    await a_live_backup(gateway_database, worker_database, stage)
    text = (await scrape(worker_database)).text
    told = {family.name for family in text_string_to_metric_families(text)}
    rules = RULES.read_text()
    assert rules.count("- alert: ") == rules.count("expr: ") == 14
    assert set(re.findall(r"backup_gateway_\w+", rules)) <= told
    words = re.findall(r'backup_gateway_(\w+)\{\w+=~?"([A-Z_|]+)"', rules)
    known = {"events_last_day": EventKind, "drifts": DriftKind, "integrations": SHOWN}
    assert {figure for figure, _ in words} == set(known)
    for figure, word in words:
        assert set(word.split("|")) <= set(known[figure])


@pytest.mark.parametrize("what", ["rules", "metrics"])
async def test_promtool_accepts_the_rules_and_the_metrics(
    program: Callable[[str], Path], worker_database: Database, what: str
) -> None:
    promtool = program("promtool")
    if what == "rules":
        command, given = (promtool, "check", "rules", RULES), ""
    else:
        command, given = (promtool, "check", "metrics"), (await scrape(worker_database)).text
    done = await asyncio.to_thread(
        subprocess.run, command, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if what == "rules":
        assert "SUCCESS: 14 rules found" in done.stdout


async def test_promtool_finds_that_each_alert_comes_when_it_should(
    program: Callable[[str], Path], tmp_path: Path
) -> None:
    for path in (RULES, CASES):
        shutil.copy(path, tmp_path)
    done = await asyncio.to_thread(
        subprocess.run,
        (program("promtool"), "test", "rules", CASES.name),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_worker_answers_on_a_loopback_port_of_its_own_until_it_ends(
    worker_database: Database,
) -> None:
    with bind_metrics(Settings()) as none:
        assert none is None
    with bind_metrics(Settings(metrics_port=0)) as listening:
        assert listening is not None
        host, port = listening.getsockname()
        assert host == "127.0.0.1"
        async with httpx.AsyncClient(trust_env=False, timeout=15) as client:
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(tell_metrics(worker_database, listening))
                answer = await client.get(f"http://127.0.0.1:{port}/metrics")
                telling.cancel()
            assert "backup_gateway_runs{" in answer.text
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://127.0.0.1:{port}/metrics")
