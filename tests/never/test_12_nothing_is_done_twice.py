"""Point 12: a retried mutation does not do it twice, and an instance is never in two runs."""

import asyncio

import pytest

CREATE = """mutation ($container: ID!, $instance: ID, $key: String) {
  createBackup(containerId: $container, instanceId: $instance, idempotencyKey: $key) {
    backup { id } errors { __typename code } } }"""
RESTORE = """mutation ($backup: ID!, $instance: ID!, $key: String) {
  restoreBackup(backupId: $backup, instanceId: $instance, idempotencyKey: $key) {
    restore { id } errors { __typename code } } }"""
AT_ONCE = 20
# Says so where it is not alone in its instance.
ALONE = "exec 9> lock; flock -n 9 || echo > twice; echo >> runs; printf data; sleep 0.1"


def _ids(answers, field, name):
    return {a[field][name]["id"] for a in answers if a[field][name] is not None}


def _codes(answers, field):
    return [error["code"] for a in answers for error in a[field]["errors"]]


async def _at_once(product, document, **variables):
    return await asyncio.gather(*(product.ask(document, **variables) for _ in range(AT_ONCE)))


async def test_a_retry_of_create_backup_makes_no_second_one(product):
    load = await product.workload("db", backup=ALONE, instances=1)
    values = {"container": load.id, "instance": load.instance(1)}
    answers = await _at_once(product, CREATE, **values, key="once")
    assert len(_ids(answers, "createBackup", "backup")) == 1
    assert _codes(answers, "createBackup") == []
    async with product.working():
        (backup_id,) = _ids(answers, "createBackup", "backup")
        assert (await product.backup_ended(backup_id))["state"] == "LIVE"
        # Also long after it has ended.
        again = await _at_once(product, CREATE, **values, key="once")
        assert _ids(again, "createBackup", "backup") == {backup_id}
        await product.nothing_left(kept=1)
    data = await product.ask(
        "query ($id: ID!) { container(id: $id) { backups { totalCount } } }", id=load.id
    )
    assert data["container"]["backups"]["totalCount"] == 1


async def test_a_retry_of_restore_backup_makes_no_second_one(product):
    load = await product.workload(
        "db", backup="printf data", restore="echo >> runs; cat > got", instances=2
    )
    async with product.working():
        backup = await product.back_up(load)
        values = {"backup": backup["id"], "instance": load.instance(2)}
        answers = await _at_once(product, RESTORE, **values, key="once")
        (restore_id,) = _ids(answers, "restoreBackup", "restore")
        assert _codes(answers, "restoreBackup") == []
        assert (await product.restore_ended(restore_id))["state"] == "SUCCEEDED"
        again = await _at_once(product, RESTORE, **values, key="once")
        assert _ids(again, "restoreBackup", "restore") == {restore_id}
    assert (load.folder(2) / "runs").read_text() == "\n"


async def test_a_key_for_other_arguments_does_nothing(product):
    load = await product.workload("db", backup=ALONE, instances=2)
    values = {"container": load.id, "key": "once"}
    await product.ask(CREATE, **values, instance=load.instance(1))
    answers = await _at_once(product, CREATE, **values, instance=load.instance(2))
    assert _codes(answers, "createBackup") == ["IDEMPOTENCY_KEY_REUSED"] * AT_ONCE
    assert _ids(answers, "createBackup", "backup") == set()


async def test_of_many_backups_of_an_instance_at_once_one_is_made(product):
    load = await product.workload("db", backup=ALONE, instances=1)
    answers = await _at_once(
        product, CREATE, container=load.id, instance=load.instance(1), key=None
    )
    assert len(_ids(answers, "createBackup", "backup")) == 1
    assert _codes(answers, "createBackup") == ["INSTANCE_BUSY"] * (AT_ONCE - 1)


async def test_of_backups_and_restores_of_an_instance_at_once_one_is_made(product):
    load = await product.workload("db", backup="printf data", restore="cat > got", instances=1)
    async with product.working():
        backup = await product.back_up(load)
    one = load.instance(1)
    saves, restores = await asyncio.gather(
        _at_once(product, CREATE, container=load.id, instance=one, key=None),
        _at_once(product, RESTORE, backup=backup["id"], instance=one, key=None),
    )
    made = _ids(saves, "createBackup", "backup") | _ids(restores, "restoreBackup", "restore")
    assert len(made) == 1
    codes = _codes(saves, "createBackup") + _codes(restores, "restoreBackup")
    assert codes == ["INSTANCE_BUSY"] * (2 * AT_ONCE - 1)


@pytest.mark.timeout(60)  # many runs, one after the other
async def test_workers_that_race_for_an_instance_run_one_command_at_a_time(product):
    load = await product.workload("db", backup=ALONE, restore=ALONE + "; cat > got", instances=1)
    async with product.working(), product.working(), product.working():
        for _ in range(5):
            answers = await _at_once(
                product, CREATE, container=load.id, instance=load.instance(1), key=None
            )
            (backup_id,) = _ids(answers, "createBackup", "backup")
            assert (await product.backup_ended(backup_id))["state"] == "LIVE"
        await product.nothing_left(kept=5)
    # More where the machine is so busy that a save was taken over.
    assert len((load.folder(1) / "runs").read_text()) >= 5
    assert not (load.folder(1) / "twice").exists()
