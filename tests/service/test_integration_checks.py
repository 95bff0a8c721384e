"""Checks of integrations: one worker each, nothing taken for granted that changed meanwhile."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from app.errors import (
    BucketNotFound,
    StorageCredentials,
    StorageUnavailable,
)
from app.model.events import EventFilter
from app.model.integrations import IntegrationState
from app.model.paging import Page
from app.queries import events, integrations
from app.service.integration_checks import (
    check_failed,
    check_passed,
    check_soon,
    due_checks,
)
from app.service.integrations import delete_integration, end, update_integration, verify_integration
from app.service.secrets import Sealer, make_key
from tests.builders import (
    EMBEDDED_KEY_PREFIX,
    SEALER,
    a_hub,
    an_admin,
    an_integration,
    an_unchecked_integration,
)


async def read(gateway, admin, id):
    async with gateway.connection(admin.hub_id) as connection:
        return await integrations.get(connection, admin.hub_id, id)


async def give_key(gateway, admin, id, key_id):
    return await update_integration(
        gateway,
        admin,
        id=id,
        sealer=SEALER,
        embedded_key_prefix=EMBEDDED_KEY_PREFIX,
        key_id=key_id,
        key=f"the key of {key_id}".replace(" ", "-"),
    )


async def one_due(worker):
    (check,) = await due_checks(worker, SEALER, 10)
    return check


async def due_in(owner, id) -> str:
    async with owner.connection(None) as connection:
        seconds = await connection.fetchval(
            "select extract(epoch from check_at - now())::float from integrations where id = $1", id
        )
    for name, length in (("day", 86400), ("hour", 3600), ("5 minutes", 300), ("minute", 60)):
        if length - 60 < seconds <= length:
            return name
    return "now" if seconds <= 0 else "?"


async def test_a_new_integration_is_due_once_and_live_when_its_check_passed(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    made = await an_unchecked_integration(gateway_database, admin, key_id="one", key="hunter2")
    check = await one_due(worker_database)
    assert check.integration == made
    assert (check.access.key_id, check.access.key) == ("one", "hunter2")
    assert (check.access.bucket, check.access.prefix) == (made.bucket, made.prefix)
    assert (check.next_access, check.sample) == (None, None)
    assert "hunter2" not in repr(check)
    assert await due_checks(worker_database, SEALER, 10) == []
    assert await due_in(owner, made.id) == "5 minutes"

    assert await check_passed(worker_database, check)
    live = await read(gateway_database, admin, made.id)
    assert live.verified_at is not None
    assert live == replace(made, state=IntegrationState.LIVE, verified_at=live.verified_at)
    assert await due_in(owner, made.id) == "day"


async def test_workers_at_once_never_take_the_same_check(owner, gateway_database, worker_database):
    admin = an_admin(await a_hub(owner))
    made = [await an_unchecked_integration(gateway_database, admin) for _ in range(6)]
    taken = await asyncio.gather(*(due_checks(worker_database, SEALER, 2) for _ in range(5)))
    ids = [check.integration.id for checks in taken for check in checks]
    assert sorted(ids) == sorted(one.id for one in made)


async def test_a_failed_check_says_why_and_comes_again(owner, gateway_database, worker_database):
    admin = an_admin(await a_hub(owner))
    made = await an_unchecked_integration(gateway_database, admin)
    await check_failed(worker_database, await one_due(worker_database), BucketNotFound())
    failed = await read(gateway_database, admin, made.id)
    assert failed == replace(
        made,
        state=IntegrationState.FAILED,
        error_code="BUCKET_NOT_FOUND",
        error_message="There is no such bucket, or the key is not allowed to see it.",
    )
    assert await due_in(owner, made.id) == "hour"

    again = await verify_integration(gateway_database, admin, id=made.id)
    assert again.state is IntegrationState.VERIFYING
    assert await check_passed(worker_database, await one_due(worker_database))
    live = await read(gateway_database, admin, made.id)
    assert (live.state, live.error_code, live.error_message) == ("LIVE", None, None)


async def test_a_network_that_is_down_does_not_end_what_works(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin)
    await verify_integration(gateway_database, admin, id=made.id)
    await check_failed(worker_database, await one_due(worker_database), StorageUnavailable())
    down = await read(gateway_database, admin, made.id)
    assert (down.state, down.error_code) == (IntegrationState.LIVE, "STORAGE_UNAVAILABLE")
    assert await due_in(owner, made.id) == "minute"

    await verify_integration(gateway_database, admin, id=made.id)
    await check_failed(worker_database, await one_due(worker_database), StorageCredentials())
    refused = await read(gateway_database, admin, made.id)
    assert (refused.state, refused.error_code) == (IntegrationState.FAILED, "STORAGE_CREDENTIALS")


async def test_a_new_key_is_taken_once_its_check_passed(owner, gateway_database, worker_database):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin, key_id="old")
    await give_key(gateway_database, admin, made.id, "new")
    check = await one_due(worker_database)
    assert check.access.key_id == "old"
    assert check.next_access is not None
    assert (check.next_access.key_id, check.next_access.key) == ("new", "the-key-of-new")
    assert await check_passed(worker_database, check)
    live = await read(gateway_database, admin, made.id)
    assert (live.key_id, live.next_key_id) == ("new", None)

    await verify_integration(gateway_database, admin, id=made.id)
    check = await one_due(worker_database)
    assert (check.access.key, check.next_access) == ("the-key-of-new", None)


async def test_a_new_key_that_was_refused_is_dropped_and_the_old_one_stays(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin, key_id="old")
    await give_key(gateway_database, admin, made.id, "new")
    await check_failed(worker_database, await one_due(worker_database), StorageUnavailable())
    waiting = await read(gateway_database, admin, made.id)
    assert (waiting.state, waiting.key_id, waiting.next_key_id) == ("LIVE", "old", "new")

    await verify_integration(gateway_database, admin, id=made.id)
    await check_failed(worker_database, await one_due(worker_database), StorageCredentials())
    kept = await read(gateway_database, admin, made.id)
    assert (kept.state, kept.key_id, kept.next_key_id) == ("LIVE", "old", None)
    assert kept.error_code == "STORAGE_CREDENTIALS"
    assert kept.error_message.startswith("The new key was not taken: ")


@pytest.mark.parametrize("passed", [True, False])
async def test_an_answer_about_a_key_that_was_replaced_meanwhile_is_not_taken(
    owner, gateway_database, worker_database, passed
):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin, key_id="old")
    await give_key(gateway_database, admin, made.id, "first")
    about_the_first = await one_due(worker_database)
    second = await give_key(gateway_database, admin, made.id, "second")
    if passed:
        assert not await check_passed(worker_database, about_the_first)
    else:
        await check_failed(worker_database, about_the_first, StorageCredentials())
    assert await read(gateway_database, admin, made.id) == second
    check = await one_due(worker_database)
    assert check.next_access is not None
    assert check.next_access.key_id == "second"


async def test_a_deleted_integration_is_neither_checked_nor_brought_back(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    made = await an_unchecked_integration(gateway_database, admin)
    check = await one_due(worker_database)
    deleted, _ = await delete_integration(gateway_database, admin, id=made.id)
    assert not await check_passed(worker_database, check)
    await check_failed(worker_database, check, BucketNotFound())
    assert await read(gateway_database, admin, made.id) == deleted
    async with owner.transaction(None) as connection:
        await connection.execute("update integrations set check_at = now()")
    assert await due_checks(worker_database, SEALER, 10) == []


@pytest.mark.parametrize(
    ("prefixes", "overlap"),
    [
        (("a", "a"), True),
        (("a", "a/b"), True),
        (("a/b", "a"), True),
        (("", "a"), True),
        (("a", ""), True),
        (("", ""), True),
        (("a", "ab"), False),
        (("ab", "a"), False),
        (("a/b", "a/c"), False),
        (("a_", "ab/c"), False),
        (("a", "A"), False),
    ],
)
async def test_a_place_belongs_to_whoever_proved_it_first(
    owner, gateway_database, worker_database, prefixes, overlap
):
    first, second = prefixes
    admin, stranger = an_admin(await a_hub(owner)), an_admin(await a_hub(owner))
    await an_integration(gateway_database, worker_database, admin, bucket="Bucket-1", prefix=first)
    made = await an_unchecked_integration(
        gateway_database, stranger, bucket="bucket-1", prefix=second
    )
    check = await one_due(worker_database)
    assert await check_passed(worker_database, check) is not overlap
    after = await read(gateway_database, stranger, made.id)
    assert after.state == ("FAILED" if overlap else "LIVE")
    assert after.error_code == ("PREFIX_IN_USE" if overlap else None)


async def test_naming_a_bucket_without_reaching_it_blocks_nobody(
    owner, gateway_database, worker_database
):
    squatter, admin = an_admin(await a_hub(owner)), an_admin(await a_hub(owner))
    await an_unchecked_integration(gateway_database, squatter, bucket="bucket-1", prefix="")
    await check_failed(worker_database, await one_due(worker_database), StorageCredentials())
    made = await an_integration(gateway_database, worker_database, admin, bucket="bucket-1")
    assert made.state is IntegrationState.LIVE


async def test_a_place_is_free_again_when_its_owner_was_deleted_and_in_another_realm(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    first = await an_integration(gateway_database, worker_database, admin, bucket="bucket-1")
    elsewhere = await an_integration(
        gateway_database,
        worker_database,
        admin,
        bucket="bucket-1",
        key_id=f"{EMBEDDED_KEY_PREFIX}1",
    )
    assert elsewhere.state is IntegrationState.LIVE
    await delete_integration(gateway_database, admin, id=first.id)
    assert await end(worker_database, first.id)
    second = await an_integration(gateway_database, worker_database, admin, bucket="bucket-1")
    assert second.state is IntegrationState.LIVE


async def test_of_two_checks_that_end_at_once_only_one_gets_the_place(
    owner, gateway_database, worker_database
):
    for round_ in range(3):
        for _ in range(4):
            admin = an_admin(await a_hub(owner))
            await an_unchecked_integration(gateway_database, admin, bucket=f"bucket-{round_}")
        checks = await due_checks(worker_database, SEALER, 10)
        passed = await asyncio.gather(*(check_passed(worker_database, one) for one in checks))
        assert sorted(passed) == [False, False, False, True]


async def test_a_key_that_cannot_be_unsealed_fails_its_integration_alone(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    lost = await an_unchecked_integration(gateway_database, admin, sealer=Sealer([make_key()]))
    fine = await an_unchecked_integration(gateway_database, admin)
    check = await one_due(worker_database)
    assert check.integration == fine
    failed = await read(gateway_database, admin, lost.id)
    assert (failed.state, failed.error_code) == (IntegrationState.FAILED, "SECRET_UNREADABLE")


async def tell_kinds(gateway_database, admin):
    async with gateway_database.connection(admin.hub_id) as connection:
        found = await events.page(connection, admin.hub_id, EventFilter(), Page(ascending=True))
    return [event.kind for event in found.items]


async def test_a_failure_and_the_end_of_it_are_told_once_each(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin, name="the bucket")
    for error in (StorageUnavailable(), StorageCredentials(), BucketNotFound(), BucketNotFound()):
        await verify_integration(gateway_database, admin, id=made.id)
        await check_failed(worker_database, await one_due(worker_database), error)
    assert await tell_kinds(gateway_database, admin) == ["INTEGRATION_FAILED"]
    for _ in range(2):
        await verify_integration(gateway_database, admin, id=made.id)
        assert await check_passed(worker_database, await one_due(worker_database))
    kinds = ["INTEGRATION_FAILED", "INTEGRATION_RECOVERED"]
    assert await tell_kinds(gateway_database, admin) == kinds
    async with gateway_database.connection(admin.hub_id) as connection:
        wanted = EventFilter(kinds=("INTEGRATION_FAILED",))
        [event] = (await events.page(connection, admin.hub_id, wanted, Page())).items
    assert event.integration_id == made.id
    assert event.data == {"code": "STORAGE_CREDENTIALS"}
    assert event.message.startswith("The integration the bucket does not work: ")


async def test_an_integration_that_never_worked_is_told_of_and_a_refused_new_key_is_not(
    owner, gateway_database, worker_database
):
    admin, other = an_admin(await a_hub(owner)), an_admin(await a_hub(owner))
    await an_unchecked_integration(gateway_database, admin)
    await check_failed(worker_database, await one_due(worker_database), StorageCredentials())
    assert await tell_kinds(gateway_database, admin) == ["INTEGRATION_FAILED"]
    made = await an_integration(gateway_database, worker_database, other, key_id="old")
    await give_key(gateway_database, other, made.id, "new")
    await check_failed(worker_database, await one_due(worker_database), StorageCredentials())
    assert await tell_kinds(gateway_database, other) == []


PASS_MINUTES = """
update integrations
set unreachable_since = unreachable_since - $1::interval, check_at = now()
"""


async def told(gateway, admin):
    async with gateway.connection(admin.hub_id) as connection:
        found = await events.page(connection, admin.hub_id, EventFilter(), Page())
    return [event.kind for event in reversed(found.items)]


async def test_a_bucket_that_is_unreachable_for_more_than_10_minutes_is_told_once_and_its_return(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin)

    async def fail_after(minutes, error):
        async with owner.connection() as connection:
            await connection.execute(PASS_MINUTES, timedelta(minutes=minutes))
        await check_failed(worker_database, await one_due(worker_database), error)
        return await told(gateway_database, admin)

    assert await fail_after(0, StorageUnavailable("B2 cannot be reached.")) == []
    assert await fail_after(9.9, StorageUnavailable("B2 cannot be reached.")) == []
    assert await fail_after(0.2, StorageUnavailable("B2 is gone.")) == ["INTEGRATION_FAILED"]
    assert await fail_after(60, StorageUnavailable()) == ["INTEGRATION_FAILED"]
    down = await read(gateway_database, admin, made.id)
    # Nothing is wrong with the integration itself: what runs is tried.
    assert (down.state, down.error_code) == (IntegrationState.LIVE, "STORAGE_UNAVAILABLE")
    async with gateway_database.connection(admin.hub_id) as connection:
        [event] = (await events.page(connection, admin.hub_id, EventFilter(), Page())).items
    assert event.message == (
        f"The integration {made.name} cannot be reached for more than 10 minutes: B2 is gone."
    )
    assert (event.integration_id, event.data) == (made.id, {"code": "STORAGE_UNAVAILABLE"})

    await fail_after(0, StorageUnavailable())
    async with owner.connection() as connection:
        await connection.execute("update integrations set check_at = now()")
    assert await check_passed(worker_database, await one_due(worker_database))
    both = ["INTEGRATION_FAILED", "INTEGRATION_RECOVERED"]
    assert await told(gateway_database, admin) == both

    # It passed: the next 10 minutes are others.
    assert await fail_after(0, StorageUnavailable()) == both
    assert await fail_after(9, StorageUnavailable()) == both
    async with owner.connection() as connection:
        await connection.execute("update integrations set check_at = now()")
    assert await check_passed(worker_database, await one_due(worker_database))
    assert await told(gateway_database, admin) == both


async def test_what_could_not_reach_b2_has_it_checked_at_once(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin)
    assert await due_checks(worker_database, SEALER, 10) == []
    await check_soon(worker_database, made.id)
    check = await one_due(worker_database)
    # Neither one that is going on is disturbed, nor one that comes soon anyway.
    await check_soon(worker_database, made.id)
    await check_failed(worker_database, check, StorageUnavailable())
    assert await due_in(owner, made.id) == "minute"
    await check_soon(worker_database, made.id)
    assert await due_in(owner, made.id) == "minute"
