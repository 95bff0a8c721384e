"""Retention over GraphQL: each backup says whether it stays, and a policy may be tried first."""

from datetime import timedelta
from typing import Any

import pytest

from app.errors import CommandFailed
from app.model.backups import Backup
from app.model.ids import encode_id
from app.model.retention import Retention
from app.postgres.pool import Database
from app.service.endings import fail_run
from app.service.runs import mark_touched
from tests.builders import Stage, a_live_backup, a_policy, a_stage, a_started_restore
from tests.graphql_server import Client
from tests.service.aged_backups import age, run_it

PREVIEW = """
query($id: ID!, $policy: BackupPolicyInput, $keep: Boolean, $first: Int, $after: String,
    $last: Int, $before: String) {
  container(id: $id) {
    retentionPreview(policy: $policy, keep: $keep, first: $first, after: $after, last: $last,
        before: $before) {
      totalCount
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      nodes { keep code reason expiresAt backup { id } }
    }
  }
}
"""
SHOWN = """query($id: ID!) { backup(id: $id) {
  state retention { keep code reason } expiresAt deletionRequestedBy { kind id name } } }"""
MARK = """mutation($id: ID!, $well: Boolean! = true) { updateInstance(id: $id, markAsWell: $well) {
  instance { inDoubtSince } errors { code } } }"""


@pytest.fixture
async def stage(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Stage:
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    await a_policy(
        gateway_database,
        stage.admin,
        stage.container,
        stage.integration,
        retention=Retention(keep_last=2, max_age=timedelta(days=10)),
    )
    return stage


@pytest.fixture
async def made(
    owner: Database, gateway_database: Database, worker_database: Database, stage: Stage
) -> list[Backup]:
    """Backups of five days, the newest first."""
    made = []
    for days in (6, 5, 4, 3, 2):
        made.append(await a_live_backup(gateway_database, worker_database, stage))
        await age(owner, made[-1], days)
    return made[::-1]


async def preview(client: Client, stage: Stage, **variables: Any) -> dict[str, Any]:
    id = encode_id("Container", stage.container.id)
    answer = await client.ask(PREVIEW, id=id, **variables)
    found: dict[str, Any] = answer["container"]["retentionPreview"]
    return found


def places(found: dict[str, Any], made: list[Backup]) -> list[int]:
    order = [encode_id("Backup", backup.id) for backup in made]
    return [order.index(node["backup"]["id"]) for node in found["nodes"]]


async def test_the_preview_says_of_each_backup_what_would_become_of_it(
    admin: Client, stage: Stage, made: list[Backup]
) -> None:
    found = await preview(admin, stage)
    assert places(found, made) == [0, 1, 2, 3, 4]
    assert [(node["keep"], node["code"]) for node in found["nodes"]] == [
        (True, "FILLS_SLOT"),
        (True, "FILLS_SLOT"),
        (False, "FILLS_NO_SLOT"),
        (False, "FILLS_NO_SLOT"),
        (False, "FILLS_NO_SLOT"),
    ]
    assert found["nodes"][1]["reason"] == "It fills a slot of keepLast."
    assert found["nodes"][0]["expiresAt"] is None
    assert found["nodes"][1]["expiresAt"] is not None
    kept, gone = [await preview(admin, stage, keep=keep) for keep in (True, False)]
    assert (kept["totalCount"], gone["totalCount"]) == (2, 3)
    assert (places(kept, made), places(gone, made)) == ([0, 1], [2, 3, 4])


async def test_the_preview_has_pages_both_ways(
    admin: Client, stage: Stage, made: list[Backup]
) -> None:
    first = await preview(admin, stage, first=2)
    assert (places(first, made), first["totalCount"]) == ([0, 1], 5)
    assert first["pageInfo"]["hasNextPage"] is True
    second = await preview(admin, stage, first=2, after=first["pageInfo"]["endCursor"])
    assert places(second, made) == [2, 3]
    third = await preview(admin, stage, first=2, after=second["pageInfo"]["endCursor"])
    assert (places(third, made), third["pageInfo"]["hasNextPage"]) == ([4], False)
    back = await preview(admin, stage, last=2, before=third["pageInfo"]["startCursor"])
    assert places(back, made) == [2, 3]
    assert places(await preview(admin, stage, last=2), made) == [3, 4]


async def test_a_policy_is_tried_without_being_set(
    admin: Client, stage: Stage, made: list[Backup]
) -> None:
    policy = {
        "integrationId": encode_id("Integration", stage.integration.id),
        "backup": {"command": "true"},
        "retention": {"maxAge": "P3D"},
    }
    found = await preview(admin, stage, policy=policy, keep=False)
    assert places(found, made) == [1, 2, 3, 4]
    assert (await preview(admin, stage, keep=False))["totalCount"] == 3
    off = await preview(admin, stage, policy=policy | {"enabled": False})
    assert {node["code"] for node in off["nodes"]} == {"POLICY_OFF"}
    # A cursor of one rule is none of another one.
    cursor = found["pageInfo"]["endCursor"]
    id = encode_id("Container", stage.container.id)
    answer = await admin.post(PREVIEW, {"id": id, "first": 2, "after": cursor})
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    bad = policy | {"retention": {"maxAge": "PT1H"}}
    answer = await admin.post(PREVIEW, {"id": id, "policy": bad})
    assert answer["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
    assert answer["errors"][0]["message"] == "maxAge must be between 1 day and 36500 days."


async def test_a_backup_says_why_it_stays_and_why_it_went(
    admin: Client, worker_database: Database, stage: Stage, made: list[Backup]
) -> None:
    stays, goes = [encode_id("Backup", made[place].id) for place in (1, 4)]
    shown = (await admin.ask(SHOWN, id=stays))["backup"]
    assert shown["retention"] == {
        "keep": True,
        "code": "FILLS_SLOT",
        "reason": "It fills a slot of keepLast.",
    }
    assert shown["expiresAt"].startswith((made[1].created_at + timedelta(7)).strftime("%Y-%m-%d"))
    assert await run_it(worker_database, stage) == 3
    hostname = stage.instance.hostname
    assert (await admin.ask(SHOWN, id=goes))["backup"] == {
        "state": "DELETING",
        "retention": {
            "keep": False,
            "code": "FILLS_NO_SLOT",
            "reason": f"Newer good backups of {hostname} fill every slot: keepLast 2.",
        },
        "expiresAt": None,
        "deletionRequestedBy": {"kind": "GATEWAY", "id": None, "name": "retention"},
    }


async def test_an_instance_shows_its_doubt_and_an_admin_ends_it(
    admin: Client, gateway_database: Database, worker_database: Database, stage: Stage
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    run = order.run
    await mark_touched(worker_database, run.id, run.epoch)
    await fail_run(worker_database, run.id, run.epoch, error=CommandFailed(), exit_code=1)
    id = encode_id("Instance", stage.instance.id)
    still = (await admin.ask(MARK, id=id, well=False))["updateInstance"]
    assert still["instance"]["inDoubtSince"] is not None
    marked = (await admin.ask(MARK, id=id))["updateInstance"]
    assert marked == {"instance": {"inDoubtSince": None}, "errors": []}
