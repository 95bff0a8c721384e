"""Instances: made, changed and taken away."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from app.errors import Conflict, InvalidInput, InvalidState, NotFound, OwnerLost
from app.model.containers import InstanceFilter, InstanceState, NewInstance
from app.model.paging import Cursor, Page
from app.queries import instances, integrations
from app.service.endings import fail_run
from app.service.instances import create_instance, delete_instance, update_instance
from app.service.secrets import open_variables
from tests.builders import HOST, SEALER, a_container, a_hub, a_save, a_stage, an_admin, an_instance


async def read(gateway, admin, id):
    async with gateway.connection(admin.hub_id) as connection:
        return await instances.get(connection, admin.hub_id, id)


async def variables_of(owner, id):
    async with owner.connection(None) as connection:
        sealed = await connection.fetchval(
            "select sealed_variables from instances where id = $1", id
        )
    return open_variables(SEALER, id, sealed)


async def change(gateway, admin, id, **changes):
    return await update_instance(gateway, admin, id=id, sealer=SEALER, **changes)


async def test_an_instance_is_made_as_it_was_asked_for(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    new = NewInstance(
        container_id=container.id,
        hostname="1.db",
        state=InstanceState.PAUSED,
        executor="process",
        host="vm-1",
        folder="db/1",
        variables={"PORT": "1", "HOST": "hunter2"},
        scratch=True,
    )
    made = await create_instance(gateway_database, admin, new=new, default_host=HOST, sealer=SEALER)
    assert made == await read(gateway_database, admin, made.id)
    assert (made.hub_id, made.container_id) == (admin.hub_id, container.id)
    assert (made.hostname, made.state) == ("1.db", InstanceState.PAUSED)
    assert (made.executor, made.host, made.folder) == ("process", "vm-1", "db/1")
    assert (made.variable_names, made.scratch) == (("HOST", "PORT"), True)
    assert made.removed_at is None
    assert await variables_of(owner, made.id) == {"PORT": "1", "HOST": "hunter2"}


async def test_variables_are_stored_sealed(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    await an_instance(gateway_database, admin, container, variables={"PASSWORD": "hunter2"})
    async with owner.connection(None) as connection:
        (row,) = await connection.fetch("select instances::text as text from instances")
    assert "PASSWORD" in row["text"]
    assert "hunter2" not in row["text"]
    assert b"hunter2".hex() not in row["text"]


async def test_an_instance_without_a_host_runs_on_the_default_one(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await an_instance(gateway_database, admin, await a_container(gateway_database, admin))
    assert made.host == HOST
    assert await variables_of(owner, made.id) == {}


async def test_a_replay_with_other_variables_is_a_conflict(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    new = NewInstance(
        container_id=container.id,
        hostname="1.db",
        state=InstanceState.RUNNING,
        executor="process",
        host=None,
        folder="db",
        variables={"PASSWORD": "one"},
        scratch=False,
    )
    how = {"default_host": HOST, "sealer": SEALER, "idempotency_key": "1"}
    made = await create_instance(gateway_database, admin, new=new, **how)
    assert await create_instance(gateway_database, admin, new=new, **how) == made
    other = replace(new, variables={"PASSWORD": "two"})
    with pytest.raises(Conflict) as refusal:
        await create_instance(gateway_database, admin, new=other, **how)
    assert refusal.value.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_hostname_is_taken_until_its_instance_is_removed(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    first = await an_instance(gateway_database, admin, container, hostname="1.db")
    with pytest.raises(Conflict) as refusal:
        await an_instance(gateway_database, admin, container, hostname="1.db")
    assert (refusal.value.reason, refusal.value.path) == ("HOSTNAME_TAKEN", ("hostname",))
    elsewhere = await a_container(gateway_database, admin)
    await an_instance(gateway_database, admin, elsewhere, hostname="1.db")
    await delete_instance(gateway_database, admin, id=first.id)
    await an_instance(gateway_database, admin, container, hostname="1.db")


async def test_an_instance_is_not_made_in_a_container_of_nobody_or_others(owner, gateway_database):
    admin, stranger = an_admin(await a_hub(owner)), an_admin(await a_hub(owner))
    foreign = await a_container(gateway_database, stranger)
    for id in (foreign.id, uuid4()):
        with pytest.raises(NotFound) as refusal:
            await an_instance(gateway_database, admin, id)
        assert refusal.value.path == ("containerId",)


async def test_only_what_is_given_changes(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    made = await an_instance(
        gateway_database, admin, container, folder="a", variables={"A": "1", "B": "2"}
    )
    stopped = await change(gateway_database, admin, made.id, state=InstanceState.STOPPED)
    assert stopped == replace(made, state=InstanceState.STOPPED)
    moved = await change(gateway_database, admin, made.id, folder="b")
    assert moved == replace(stopped, folder="b")
    assert await variables_of(owner, made.id) == {"A": "1", "B": "2"}
    changed = await change(gateway_database, admin, made.id, variables={"C": "3"})
    assert changed == replace(moved, variable_names=("C",))
    assert await variables_of(owner, made.id) == {"C": "3"}
    cleared = await change(gateway_database, admin, made.id, variables={})
    assert cleared.variable_names == ()
    assert await variables_of(owner, made.id) == {}
    assert await read(gateway_database, admin, made.id) == cleared


async def test_a_change_that_cannot_be_made_changes_nothing(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await an_instance(gateway_database, admin, await a_container(gateway_database, admin))
    for changes in (
        {"state": InstanceState.UNREACHABLE},
        {"state": InstanceState.DELETING},
        {"folder": "../b"},
        {"folder": "", "state": InstanceState.STOPPED},
        {"variables": {"A": "\0"}, "folder": "b"},
    ):
        with pytest.raises(InvalidInput):
            await change(gateway_database, admin, made.id, **changes)
    with pytest.raises(NotFound):
        await change(gateway_database, admin, uuid4(), folder="b")
    assert await read(gateway_database, admin, made.id) == made


@pytest.mark.parametrize("state", [InstanceState.RUNNING, InstanceState.STOPPED])
async def test_an_unreachable_instance_can_only_be_given_up(
    owner, gateway_database, worker_database, state
):
    stage = await a_stage(owner, gateway_database, worker_database)
    admin, made = stage.admin, stage.instance
    run = (await a_save(gateway_database, worker_database, stage)).run
    await fail_run(
        worker_database, run.id, run.epoch, error=OwnerLost(), exit_code=None, instance_free=False
    )
    lost = replace(made, state=InstanceState.UNREACHABLE)
    assert await read(gateway_database, admin, made.id) == lost
    with pytest.raises(InvalidState) as refusal:
        await change(gateway_database, admin, made.id, state=state)
    assert (refusal.value.reason, refusal.value.path) == ("INSTANCE_UNREACHABLE", ("state",))
    assert await read(gateway_database, admin, made.id) == lost
    gone = await change(gateway_database, admin, made.id, state=InstanceState.GONE)
    assert gone == replace(made, state=InstanceState.GONE)


async def test_an_idle_instance_is_removed_at_once_and_once(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await an_instance(gateway_database, admin, await a_container(gateway_database, admin))
    removed = await delete_instance(gateway_database, admin, id=made.id)
    assert removed.removed_at is not None
    assert removed == replace(made, state=InstanceState.DELETING, removed_at=removed.removed_at)
    assert await delete_instance(gateway_database, admin, id=made.id) == removed
    assert await read(gateway_database, admin, made.id) == removed
    with pytest.raises(NotFound):
        await change(gateway_database, admin, made.id, folder="b")
    with pytest.raises(NotFound):
        await delete_instance(gateway_database, admin, id=uuid4())


async def test_lists_leave_out_what_was_removed_and_are_filtered(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    first, second = [await a_container(gateway_database, admin) for _ in range(2)]
    made = {
        name: await an_instance(gateway_database, admin, first, hostname=name, **how)
        for name, how in {
            "running": {},
            "stopped": {"state": InstanceState.STOPPED},
            "scratch": {"scratch": True},
            "removed": {},
        }.items()
    }
    await an_instance(gateway_database, admin, second, hostname="running")
    await delete_instance(gateway_database, admin, id=made["removed"].id)
    async with gateway_database.connection(admin.hub_id) as connection:
        for filter, expected in (
            (InstanceFilter(container_id=first.id), ["scratch", "stopped", "running"]),
            (InstanceFilter(), ["running", "scratch", "stopped", "running"]),
            (InstanceFilter(hostname="running"), ["running", "running"]),
            (InstanceFilter(states=(InstanceState.STOPPED,)), ["stopped"]),
            (InstanceFilter(scratch=True), ["scratch"]),
            (InstanceFilter(states=()), []),
        ):
            got = await instances.page(connection, admin.hub_id, filter, Page())
            assert [instance.hostname for instance in got.items] == expected
            assert await instances.count(connection, admin.hub_id, filter) == len(expected)
        running = await instances.running(connection, admin.hub_id, first.id, limit=5)
        assert [instance.hostname for instance in running] == ["running", "scratch"]


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
async def test_a_page_of_many_containers_is_the_page_of_each(
    owner, gateway_database, ascending, backwards
):
    admin = an_admin(await a_hub(owner))
    containers = [await a_container(gateway_database, admin) for _ in range(3)]
    for container, many in zip(containers, (0, 2, 3), strict=True):
        for number in range(many):
            await an_instance(gateway_database, admin, container, hostname=str(number))
    ids = [container.id for container in containers]
    page = Page(limit=2, ascending=ascending, backwards=backwards)
    async with gateway_database.connection(admin.hub_id) as connection:
        there = (connection, admin.hub_id)
        all_at_once = await instances.pages(*there, ids, InstanceFilter(), page)
        assert {id: len(one.items) for id, one in all_at_once.items()} == dict(
            zip(ids, (0, 2, 2), strict=True)
        )
        for id in ids:
            alone = await instances.page(*there, InstanceFilter(container_id=id), page)
            assert all_at_once[id] == alone
        edge = all_at_once[ids[2]].items[0 if backwards else -1]
        cursor = Cursor(at=edge.created_at, id=edge.id)
        second_page = replace(page, **{"before" if backwards else "after": cursor})
        rest = await instances.pages(*there, [ids[2]], InstanceFilter(), second_page)
        forwards_order = ["2", "1", "0"] if not ascending else ["0", "1", "2"]
        expected = forwards_order[:1] if backwards else forwards_order[-1:]
        assert [instance.hostname for instance in rest[ids[2]].items] == expected
        counts = await instances.counts(*there, ids, InstanceFilter())
        assert counts == dict(zip(ids, (0, 2, 3), strict=True))


async def test_nested_pages_and_due_checks_are_read_from_their_indexes(owner):
    admin = an_admin(await a_hub(owner))
    async with owner.transaction(None) as connection:
        await connection.execute("set local enable_seqscan = off")
        place = datetime(2026, 1, 1, tzinfo=UTC), uuid4()
        nested = await connection.fetch(
            "explain (costs off) " + instances._QUERIES["pages_down"],
            admin.hub_id,
            [uuid4(), uuid4()],
            *place,
            *place,
            None,
            None,
            None,
            26,
        )
        due = await connection.fetch("explain (costs off) " + integrations._WORKERS["take_due"], 10)
    assert re.search(r"Index Scan (Backward )?using instances_container", joined(nested))
    assert "Index Scan using integrations_due" in joined(due)


def joined(plan) -> str:
    return "\n".join(row[0] for row in plan)
