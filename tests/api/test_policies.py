"""Backup policies: set as a whole, and removed."""

from typing import Any
from uuid import uuid4

import pytest

from app.model.ids import encode_id
from app.model.recipes import RECIPES
from app.postgres.pool import Database
from tests.builders import Stage, a_container, a_stage
from tests.graphql_server import Client

CONFIGURE = """
mutation($id: ID!, $policy: BackupPolicyInput) {
  configureBackups(containerId: $id, policy: $policy) {
    backupPolicy { integration { id }
      backup { command timeout minBytes } restore { command timeout } }
    warnings errors { __typename code path }
  }
}
"""


@pytest.fixture
async def stage(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Stage:
    return await a_stage(owner, gateway_database, worker_database, admin=admin.principal)


def policy_of(stage: Stage, **more: Any) -> dict[str, Any]:
    return {
        "integrationId": encode_id("Integration", stage.integration.id),
        "backup": {"command": "tar c ."},
        **more,
    }


async def test_a_policy_replaces_the_whole_one_before(admin: Client, stage: Stage) -> None:
    id = encode_id("Container", stage.container.id)
    full = policy_of(
        stage,
        backup={"command": "tar c .", "timeout": "1h30m", "minBytes": "4096"},
        restore={"command": "tar x", "timeout": "P1D"},
    )
    set_ = (await admin.ask(CONFIGURE, id=id, policy=full))["configureBackups"]
    assert set_ == {
        "backupPolicy": {
            "integration": {"id": full["integrationId"]},
            "backup": {"command": "tar c .", "timeout": "PT1H30M", "minBytes": 4096},
            "restore": {"command": "tar x", "timeout": "P1D"},
        },
        "warnings": [],
        "errors": [],
    }
    bare = (await admin.ask(CONFIGURE, id=id, policy=policy_of(stage)))["configureBackups"]
    assert bare["backupPolicy"] == {
        "integration": {"id": full["integrationId"]},
        "backup": {"command": "tar c .", "timeout": "PT12H", "minBytes": 1},
        "restore": None,
    }
    assert bare["warnings"] == ["There is no restore command: backups cannot be restored."]


async def test_null_removes_the_policy(admin: Client, stage: Stage) -> None:
    id = encode_id("Container", stage.container.id)
    removed = (await admin.ask(CONFIGURE, id=id, policy=None))["configureBackups"]
    assert removed == {"backupPolicy": None, "warnings": [], "errors": []}
    data = await admin.ask(
        "query($id: ID!) { container(id: $id) { backupPolicy { updatedAt } } }", id=id
    )
    assert data["container"] == {"backupPolicy": None}


async def test_leaving_the_policy_out_is_no_way_to_remove_it(admin: Client, stage: Stage) -> None:
    id = encode_id("Container", stage.container.id)
    answer = await admin.ask(
        """mutation($id: ID!) { configureBackups(containerId: $id) {
          backupPolicy { updatedAt } errors { __typename code path } } }""",
        id=id,
    )
    assert answer["configureBackups"] == {
        "backupPolicy": None,
        "errors": [
            {"__typename": "InvalidInputError", "code": "INVALID_INPUT", "path": ["policy"]}
        ],
    }
    query = "query($id: ID!) { container(id: $id) { backupPolicy { updatedAt } } }"
    assert (await admin.ask(query, id=id))["container"]["backupPolicy"] is not None


async def test_what_cannot_be_a_policy_is_refused(
    admin: Client, stage: Stage, gateway_database: Database
) -> None:
    web = await a_container(gateway_database, admin.principal, stateful=False)
    id = encode_id("Container", stage.container.id)
    for container, policy, refusal in (
        (id, policy_of(stage, backup={"command": " "}), "INVALID_INPUT"),
        (id, policy_of(stage, backup={"command": "x", "timeout": "PT0S"}), "INVALID_INPUT"),
        (id, policy_of(stage, backup={"command": "x", "timeout": "P8D"}), "INVALID_INPUT"),
        (id, policy_of(stage, backup={"command": "x", "minBytes": -1}), "INVALID_INPUT"),
        (id, policy_of(stage, integrationId="rubbish"), "NOT_FOUND"),
        (encode_id("Container", web.id), policy_of(stage), "CONTAINER_NOT_STATEFUL"),
        ("rubbish", policy_of(stage), "NOT_FOUND"),
    ):
        refused = (await admin.ask(CONFIGURE, id=container, policy=policy))["configureBackups"]
        assert refused["backupPolicy"] is None
        assert [error["code"] for error in refused["errors"]] == [refusal]
    query = "query($id: ID!) { container(id: $id) { backupPolicy { backup { command } } } }"
    data = await admin.ask(query, id=id)
    assert data["container"]["backupPolicy"] == {"backup": {"command": "cat data"}}


async def test_a_text_with_nul_is_refused_as_variable_and_as_literal(
    admin: Client, stage: Stage
) -> None:
    id = encode_id("Container", stage.container.id)
    policy = policy_of(stage, backup={"command": "a\0b"})
    [error] = await admin.fail(CONFIGURE, id=id, policy=policy)
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "policy"}
    for literal in (r'"a\u0000b"', r'"a\u{0}b"', r'"a\u{0000}b"'):
        query = "{ containers(filter: {identifier: " + literal + "}) { totalCount } }"
        [error] = await admin.fail(query)
        assert error["extensions"] == {"code": "BAD_USER_INPUT"}


async def test_numbers_and_durations_are_read_strictly(admin: Client, stage: Stage) -> None:
    id = encode_id("Container", stage.container.id)
    for backup, message in (
        ({"command": "x", "timeout": "P1M"}, "A Duration is ISO 8601"),
        ({"command": "x", "minBytes": 1.5}, "A BigInt is a whole number"),
        ({"command": "x", "minBytes": 2**53}, "A BigInt is a whole number"),
    ):
        [error] = await admin.fail(CONFIGURE, id=id, policy=policy_of(stage, backup=backup))
        assert message in error["message"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_another_hubs_container_and_integration_are_not_there(
    stranger: Client, stage: Stage, gateway_database: Database
) -> None:
    own = await a_container(gateway_database, stranger.principal)
    for id in (stage.container.id, own.id):
        answer = await stranger.ask(
            CONFIGURE, id=encode_id("Container", id), policy=policy_of(stage)
        )
        assert [error["code"] for error in answer["configureBackups"]["errors"]] == ["NOT_FOUND"]


async def test_an_integration_of_the_wrong_type_is_answered_like_none(
    admin: Client, stage: Stage
) -> None:
    id = encode_id("Container", stage.container.id)
    answers = [
        (await admin.ask(CONFIGURE, id=id, policy=policy_of(stage, integrationId=wrong)))[
            "configureBackups"
        ]
        for wrong in (encode_id("Integration", uuid4()), id, "rubbish")
    ]
    [error] = answers[0]["errors"]
    assert (error["code"], error["path"]) == ("NOT_FOUND", ["policy", "integrationId"])
    assert answers == [answers[0]] * 3


async def test_a_recipe_gives_the_commands_that_are_not_given(admin: Client, stage: Stage) -> None:
    id = encode_id("Container", stage.container.id)
    recipe = RECIPES["postgresql"]

    async def commands(**policy: Any) -> tuple[str, str | None]:
        answer = await admin.ask(CONFIGURE, id=id, policy=policy_of(stage, **policy))
        assert answer["configureBackups"]["errors"] == []
        made = answer["configureBackups"]["backupPolicy"]
        return made["backup"]["command"], made["restore"] and made["restore"]["command"]

    both = (recipe.backup_command, recipe.restore_command)
    assert await commands(recipe="postgresql", backup={}) == both
    assert await commands(recipe="postgresql", backup={}, restore={"command": None}) == both
    assert await commands(recipe="postgresql", restore=None) == ("tar c .", None)
    mixed = await commands(recipe="postgresql", backup={}, restore={"command": "tar x"})
    assert mixed == (recipe.backup_command, "tar x")


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"backup": {}}, ["policy", "backup", "command"]),
        ({"restore": {}}, ["policy", "restore", "command"]),
        ({"backup": {}, "recipe": "oracle"}, ["policy", "recipe"]),
    ],
)
async def test_a_command_is_given_or_that_of_a_recipe(
    admin: Client, stage: Stage, policy: dict[str, Any], path: list[str]
) -> None:
    id = encode_id("Container", stage.container.id)
    answer = await admin.ask(CONFIGURE, id=id, policy=policy_of(stage, **policy))
    refused = answer["configureBackups"]
    assert refused["backupPolicy"] is None
    assert [error["path"] for error in refused["errors"]] == [path]
