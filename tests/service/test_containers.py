"""Containers: made, listed, renamed and deleted with all that belongs to them."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import Conflict, InvalidInput, InvalidState, NotFound
from app.model.containers import ContainerFilter, ContainerState, NewContainer
from app.model.paging import Cursor, Page
from app.queries import containers
from app.service.containers import create_container, delete_container, update_container
from tests.builders import (
    a_container,
    a_hub,
    an_admin,
    an_instance,
)

HOUR = timedelta(hours=1)


async def read(gateway, admin, id):
    async with gateway.connection(admin.hub_id) as connection:
        return await containers.get(connection, admin.hub_id, id)


async def test_a_container_is_made_as_it_was_asked_for(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    new = NewContainer(identifier="db", name="The database", stateful=True, labels={"team": "ä"})
    made = await create_container(gateway_database, admin, new=new)
    assert made == await read(gateway_database, admin, made.id)
    assert (made.hub_id, made.identifier, made.name) == (admin.hub_id, "db", "The database")
    assert (made.stateful, made.labels) == (True, {"team": "ä"})
    assert (made.state, made.deleting_since) == (ContainerState.LIVE, None)


async def test_an_identifier_is_taken_in_its_own_hub_only(owner, gateway_database):
    admin, stranger = an_admin(await a_hub(owner)), an_admin(await a_hub(owner))
    await a_container(gateway_database, admin, identifier="db")
    with pytest.raises(Conflict) as refusal:
        await a_container(gateway_database, admin, identifier="db")
    assert (refusal.value.reason, refusal.value.path) == ("IDENTIFIER_TAKEN", ("identifier",))
    await a_container(gateway_database, stranger, identifier="db")


async def test_two_at_once_cannot_take_the_same_identifier(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await asyncio.gather(
        *(a_container(gateway_database, admin, identifier="db") for _ in range(5)),
        return_exceptions=True,
    )
    assert [type(one) for one in made].count(Conflict) == 4


async def test_only_what_is_given_changes(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await a_container(gateway_database, admin, name="Before", labels={"a": "1", "b": "2"})
    renamed = await update_container(gateway_database, admin, id=made.id, name="After")
    assert (renamed.name, renamed.labels) == ("After", {"a": "1", "b": "2"})
    relabeled = await update_container(gateway_database, admin, id=made.id, labels={"c": "3"})
    assert (relabeled.name, relabeled.labels) == ("After", {"c": "3"})
    cleared = await update_container(gateway_database, admin, id=made.id, labels={})
    assert cleared.labels == {}
    assert cleared == await read(gateway_database, admin, made.id)


async def test_a_change_that_cannot_be_made_changes_nothing(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await a_container(gateway_database, admin)
    with pytest.raises(InvalidInput):
        await update_container(gateway_database, admin, id=made.id, name="", labels={"a": "b"})
    with pytest.raises(InvalidInput):
        await update_container(gateway_database, admin, id=made.id, name="a", labels={"": "b"})
    with pytest.raises(NotFound):
        await update_container(gateway_database, admin, id=uuid4(), name="a")
    assert await read(gateway_database, admin, made.id) == made


async def test_deleting_wants_the_identifier_typed_again(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await a_container(gateway_database, admin, identifier="db")
    for wrong in ("", "DB", "db ", str(made.id)):
        with pytest.raises(InvalidInput) as refusal:
            await delete_container(gateway_database, admin, id=made.id, confirm=wrong, grace=HOUR)
        assert (refusal.value.reason, refusal.value.path) == ("CONFIRM_MISMATCH", ("confirm",))
    assert await read(gateway_database, admin, made.id) == made


async def test_a_container_without_backups_goes_without_warnings(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await a_container(gateway_database, admin, identifier="db")
    gone, warnings = await delete_container(
        gateway_database, admin, id=made.id, confirm="db", grace=HOUR
    )
    assert (gone.state, warnings) == (ContainerState.DELETING, [])
    assert gone.deleting_since is not None
    again = await delete_container(gateway_database, admin, id=made.id, confirm="db", grace=HOUR)
    assert again == (gone, [])


async def test_a_container_that_goes_is_not_changed_any_more(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await a_container(gateway_database, admin, identifier="db")
    await delete_container(gateway_database, admin, id=made.id, confirm="db", grace=HOUR)
    with pytest.raises(InvalidState) as refusal:
        await update_container(gateway_database, admin, id=made.id, name="After")
    assert refusal.value.reason == "CONTAINER_DELETING"
    with pytest.raises(InvalidState) as refusal:
        await an_instance(gateway_database, admin, made)
    assert (refusal.value.reason, refusal.value.path) == ("CONTAINER_DELETING", ("containerId",))
    with pytest.raises(Conflict):
        await a_container(gateway_database, admin, identifier="db")


async def test_an_instance_is_not_made_in_a_container_that_is_just_being_deleted(
    owner, gateway_database, until_blocked
):
    admin = an_admin(await a_hub(owner))
    made = await a_container(gateway_database, admin)
    async with gateway_database.transaction(admin.hub_id) as connection:
        await containers.begin_deletion(connection, admin.hub_id, made.id, timedelta(0))
        making = asyncio.create_task(an_instance(gateway_database, admin, made))
        await until_blocked()
    with pytest.raises(InvalidState):
        await making


async def pages_of(connection, hub_id, filter, **how):
    """Follow the pages of two to the end, and return what each held."""
    pages, page = [], Page(limit=2, **how)
    while True:
        got = await containers.page(connection, hub_id, filter, page)
        pages.append([container.identifier for container in got.items])
        if not (got.has_previous if page.backwards else got.has_next):
            return pages
        edge = got.items[0 if page.backwards else -1]
        cursor = Cursor(at=edge.created_at, id=edge.id)
        page = Page(limit=2, **how, **{"before" if page.backwards else "after": cursor})


async def test_pages_hold_every_container_once_in_each_order(owner, gateway_database):
    admin, stranger = an_admin(await a_hub(owner)), an_admin(await a_hub(owner))
    for identifier in "abcde":
        await a_container(gateway_database, admin, identifier=identifier)
        await a_container(gateway_database, stranger, identifier=identifier)
    async with gateway_database.connection(admin.hub_id) as connection:
        there = (connection, admin.hub_id, ContainerFilter())
        assert await pages_of(*there) == [["e", "d"], ["c", "b"], ["a"]]
        assert await pages_of(*there, ascending=True) == [["a", "b"], ["c", "d"], ["e"]]
        assert await pages_of(*there, backwards=True) == [["b", "a"], ["d", "c"], ["e"]]
        assert await pages_of(*there, backwards=True, ascending=True) == [
            ["d", "e"],
            ["b", "c"],
            ["a"],
        ]
        assert await containers.count(*there) == 5


async def test_a_list_is_filtered(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    for identifier in ("live", "stateless", "going"):
        await a_container(
            gateway_database, admin, identifier=identifier, stateful=identifier != "stateless"
        )
    async with gateway_database.connection(admin.hub_id) as connection:
        (going,) = (
            await containers.page(
                connection, admin.hub_id, ContainerFilter(identifier="going"), Page()
            )
        ).items
    await delete_container(gateway_database, admin, id=going.id, confirm="going", grace=HOUR)
    for filter, expected in (
        (ContainerFilter(), ["going", "stateless", "live"]),
        (ContainerFilter(stateful=True), ["going", "live"]),
        (ContainerFilter(stateful=False), ["stateless"]),
        (ContainerFilter(identifier="live"), ["live"]),
        (ContainerFilter(states=(ContainerState.DELETING,)), ["going"]),
        (ContainerFilter(states=()), []),
        (ContainerFilter(identifier="none"), []),
    ):
        async with gateway_database.connection(admin.hub_id) as connection:
            got = await containers.page(connection, admin.hub_id, filter, Page())
            count = await containers.count(connection, admin.hub_id, filter)
        assert [container.identifier for container in got.items] == expected
        assert count == len(expected)
        assert (got.has_next, got.has_previous) == (False, False)


async def test_several_are_read_at_once_and_unknown_ones_left_out(owner, gateway_database):
    admin, stranger = an_admin(await a_hub(owner)), an_admin(await a_hub(owner))
    first = await a_container(gateway_database, admin)
    second = await a_container(gateway_database, admin)
    foreign = await a_container(gateway_database, stranger)
    async with gateway_database.connection(admin.hub_id) as connection:
        ids = [first.id, second.id, foreign.id, uuid4()]
        assert await containers.by_ids(connection, admin.hub_id, ids) == {
            first.id: first,
            second.id: second,
        }
        assert await containers.by_ids(connection, admin.hub_id, []) == {}


async def test_a_page_deep_in_a_long_list_is_read_from_the_index(owner):
    admin = an_admin(await a_hub(owner))
    async with owner.transaction(None) as connection:
        await connection.execute(
            "insert into containers (hub_id, identifier, name, stateful, created_at)"
            " select $1, number::text, 'It', true, now() - number * interval '1 second'"
            " from generate_series(1, 20000) as number",
            admin.hub_id,
        )
        await connection.execute("analyze containers")
        sql = containers._QUERIES["page_down"]
        place = await connection.fetchrow(
            "select created_at, id from containers where identifier = '15000'"
        )
        plan = await connection.fetch(
            "explain (analyze, costs off, timing off, summary off) " + sql,
            admin.hub_id,
            place["created_at"],
            place["id"],
            place["created_at"] - timedelta(days=1),
            uuid4(),
            None,
            None,
            ["LIVE", "DELETING"],
            26,
        )
    text = "\n".join(row[0] for row in plan)
    assert "containers_hub" in text
    assert "Sort" not in text
    assert "ROW(created_at, id) <" in text.partition("Filter")[0]
