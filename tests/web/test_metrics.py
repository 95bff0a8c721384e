"""Metrics: figures of all hubs together, no hub's name, and alerts over exactly these figures."""

import asyncio
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.model.events import EventKind, NewEvent
from app.postgres.pool import Database
from app.service.events import record_event
from app.settings import Settings
from app.web.metrics import create_metrics_app
from app.wiring.programs import bind_metrics, tell_metrics
from tests.builders import a_failed_backup, a_live_backup, a_queued_backup, a_stage, an_instance

RULES = Path(__file__).parents[2] / "deploy/prometheus-rules.yaml"


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
        ("integrations", "LIVE"): 2,
        ("integrations", "FAILED"): 0,
        ("events_last_day", "DRIFT_FOUND"): 1,
        ("events_last_day", "BACKUP_OVERDUE"): 0,
        ("waiting_work", "webhooks"): 0,
    }.items():
        assert found[place] == value, place
    assert found["waiting_work", "queue"] >= 2
    assert found["waiting_work", "reclaims"] >= 2
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
    assert rules.count("- alert: ") == rules.count("expr: ") == 10
    assert set(re.findall(r"backup_gateway_\w+", rules)) <= told
    kinds = set(re.findall(r"[A-Z]+_[A-Z_]+", "".join(re.findall(r'kind=~?"([^"]+)"', rules))))
    assert kinds
    for word in re.findall(r'kind=~?"([A-Z_|]+)"', rules):
        assert set(word.split("|")) <= set(EventKind)


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
        assert "SUCCESS: 10 rules found" in done.stdout


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
