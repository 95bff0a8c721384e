"""Point 5: whatever crashes, and when: records, objects, uploads and processes agree again."""

import asyncio

import pytest

LARGE = "head -c 20000000 /dev/zero"
"""Two parts."""
SMALL = "head -c 3000000 /dev/zero"
"""One plain upload."""

# Where the worker stops to live: the operation of B2, how many of it go well before, the command.
MOMENTS = {
    "before the large file is started": ("b2_start_large_file", 0, LARGE),
    "while the first part is sent": ("b2_upload_part", 0, LARGE),
    "while it is finished": ("b2_finish_large_file", 0, LARGE),
    "while the object is sent": ("b2_upload_file", 0, SMALL),
    "while the manifest is sent": ("b2_upload_file", 1, SMALL),
}


async def _until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def _agree(product, *, live):
    """Records and bucket say the same."""
    await product.nothing_left(kept=len(live))
    paths = {backup["target"]["path"] for backup in live}
    assert set(product.objects()) == paths | {f"{path}.json" for path in paths}
    assert product.processes() == []


@pytest.mark.timeout(120)  # a process starts, a lease runs out
@pytest.mark.parametrize("moment", MOMENTS)
async def test_after_a_crash_at_any_moment_of_a_save_all_agree_again(product, moment):
    operation, skip, command = MOMENTS[moment]
    load = await product.workload("db", backup=command, instances=1)
    faults = product.b2.faults
    before = faults.count(operation)
    async with product.worker_process() as worker:
        if skip:
            # What is refused is sent again: the hold comes into force in between.
            faults.fail_next(operation, skip=skip)
        else:
            faults.hold(operation)
        backup_id = await product.start_backup(load)
        await _until(lambda: faults.count(operation) > before + skip)
        faults.hold(operation)
        await worker.kill()
    await product.no_processes(seconds=15)
    # What was on its way arrives all the same, after the death of who sent it.
    faults.reset()
    async with product.working():
        backup = await product.backup_ended(backup_id)
        assert backup["state"] == "LIVE"
        assert backup["target"]["path"].endswith("-2")
        await _agree(product, live=[backup])


@pytest.mark.timeout(120)  # a process starts, a lease runs out
@pytest.mark.parametrize("lost", ["b2_start_large_file", "b2_finish_large_file", "b2_upload_part"])
async def test_an_answer_that_is_lost_with_the_worker_leaves_nothing(product, lost):
    """B2 did it, and nobody was told."""
    load = await product.workload("db", backup=LARGE, instances=1)
    faults = product.b2.faults
    faults.lose_answer(lost)
    before = faults.count(lost)
    async with product.worker_process() as worker:
        backup_id = await product.start_backup(load)
        await _until(lambda: faults.count(lost) > before)
        await worker.kill()
    faults.reset()
    async with product.working():
        backup = await product.backup_ended(backup_id)
        assert backup["state"] == "LIVE"
        await _agree(product, live=[backup])


@pytest.mark.timeout(120)  # a process starts, a lease runs out
async def test_what_left_the_group_and_the_session_is_gone_before_the_instance_is_free(product):
    """The next run of the instance finds no one of the last one."""
    hiding = "(setsid sleep 600 &) ; setsid setsid sleep 601 & echo > up; "
    load = await product.workload("db", backup=hiding + "sleep 602", instances=1)
    async with product.worker_process() as worker:
        first = await product.start_backup(load)
        await _until((load.folder(1) / "up").exists)
        await product.cancel_backup(first)
        assert (await product.backup_ended(first))["state"] == "CANCELED"
        assert product.processes() == []
        (load.folder(1) / "up").unlink()
        second = await product.start_backup(load)
        await _until((load.folder(1) / "up").exists)
        assert len(product.processes()) >= 3
        await worker.kill()
    # With the worker's end: nobody has to take it over first.
    await product.no_processes(seconds=15)
    await product.cancel_backup(second)
    async with product.working():
        assert (await product.backup_ended(second))["state"] == "CANCELED"
        await _agree(product, live=[])


@pytest.mark.timeout(60)  # B2 is away for a while
async def test_what_b2_could_not_be_told_is_made_good_later(product):
    """The save fails while B2 is away: what was sent is removed when it is back."""
    load = await product.workload("db", backup=f"{LARGE}; echo > sent; sleep 600", instances=1)
    async with product.working():
        backup_id = await product.start_backup(load)
        await _until((load.folder(1) / "sent").exists)
        await _until(lambda: product.b2.unfinished(product.bucket_id))
        product.b2.faults.fail_next("b2_cancel_large_file", status=400, code="bad_request", times=3)
        await product.cancel_backup(backup_id)
        assert (await product.backup_ended(backup_id))["state"] == "CANCELED"
        await _agree(product, live=[])


@pytest.mark.timeout(60)  # many runs
async def test_after_many_runs_of_every_outcome_only_the_live_ones_are_left(product):
    commands = {
        "good": SMALL,
        "failed": f"{SMALL}; exit 1",
        "large": LARGE,
        "large and failed": f"{LARGE}; exit 1",
        "empty": "true",
        "killed": f"{LARGE}; kill -9 $$",
    }
    loads = [
        await product.workload(f"db-{number}", backup=command, instances=1)
        for number, command in enumerate(commands.values())
    ]
    async with product.working(runs=6):
        started = [await product.start_backup(load) for load in loads]
        ended = [await product.backup_ended(backup_id) for backup_id in started]
        live = [backup for backup in ended if backup["state"] == "LIVE"]
        assert [backup["state"] for backup in ended] == [
            *("LIVE", "FAILED", "LIVE", "FAILED", "FAILED", "FAILED")
        ]
        await _agree(product, live=live)
        answers = await product.delete(*(backup["id"] for backup in ended))
        assert all(answer["accepted"] for answer in answers)
        for backup_id in started:
            await product.backup_ended(backup_id, states={"DELETED"})
        await _agree(product, live=[])
