"""9. Nothing is deleted, or taken to be gone, because a listing failed, came short or lied."""

import pytest

from app.errors import StorageError
from app.model.drifts import ListedPage, ListedVersion
from tests.copies import parts_of
from tests.drift_calls import Bucket, drifts, events, our_name, reconcile, statuses

MANY = 12
"""More than 10: with these all gone at once, a listing is not believed."""

# Several workers are started and stopped, on a machine that may be busy.
pytestmark = pytest.mark.timeout(90)


@pytest.fixture
async def bucket(product):
    async with Bucket(product) as opened:
        yield opened


async def backups_of(product, count):
    load = await product.workload("db", backup="echo data", instances=1)
    async with product.working():
        return [await product.back_up(load) for _ in range(count)]


async def facts(product):
    """Everything that a listing could have an effect on."""
    async with product.owner.connection() as connection:
        records = await connection.fetch(
            """
            select id, state, storage_status, storage_checked_at, file_id, deleting_since
            from backups order by id
            """
        )
        shown = await connection.fetch(
            "select id, kind, file_id, resolved_at from drifts where shown_at is not null"
        )
        reclaims = await connection.fetchval("select count(*) from reclaims")
    return [tuple(row) for row in records], [tuple(row) for row in shown], reclaims


async def deletions(product):
    return product.b2.faults.count("b2_delete_file_version")


async def test_a_listing_that_comes_short_is_not_believed_and_changes_nothing(product, bucket):
    await backups_of(product, MANY)
    orphan = await bucket.put(await our_name(product), b"known before")
    await reconcile(product)
    assert [d["fileId"] for d in await drifts(product)] == [orphan]
    before, deleted = await facts(product), await deletions(product)

    product.b2.faults.short_listing(0)
    found = await reconcile(product)
    assert found["error"]["code"] == "SUSPECT_LISTING"
    product.b2.faults.short_listing(None)
    assert await facts(product) == before
    assert await deletions(product) == deleted
    assert await events(product) == [
        ("DRIFT_FOUND", {"orphan": 1}),
        ("SUSPECT_LISTING", {"absent": MANY, "records": MANY}),
    ]

    assert (await reconcile(product))["error"] is None
    assert (await facts(product))[1:] == before[1:]
    assert set((await statuses(product)).values()) == {"PRESENT"}


async def test_even_a_listing_that_is_said_to_be_right_is_asked_again_by_each_id(product, bucket):
    """A person may say that so much is really gone; B2 is asked for each object all the same."""
    saved = await backups_of(product, MANY)
    orphan = await bucket.put(await our_name(product), b"known before")
    await reconcile(product)
    bucket.remove(saved[0]["target"]["path"])
    product.b2.faults.short_listing(0)
    found = await reconcile(product, believe=True)
    assert (found["error"], found["missing"], found["contradicted"]) == (None, 1, MANY - 1)
    found = await statuses(product)
    assert sorted(found.values()) == ["MISSING", *["PRESENT"] * (MANY - 1)]
    # What else the short listing did not show is not taken to be gone.
    assert [d["fileId"] for d in await drifts(product, "ORPHAN")] == [orphan]


async def test_a_few_that_a_listing_leaves_out_are_not_missing_while_b2_has_them(product):
    await backups_of(product, 3)
    product.b2.faults.short_listing(0)
    found = await reconcile(product)
    assert (found["error"], found["missing"], found["contradicted"]) == (None, 0, 3)
    assert set((await statuses(product)).values()) == {"PRESENT"}
    assert await drifts(product) == []
    assert await events(product) == []


@pytest.mark.parametrize("operation", ["b2_list_file_versions", "b2_get_file_info"])
@pytest.mark.parametrize(("status", "code"), [(403, "access_denied"), (400, "bad_request")])
async def test_what_cannot_be_asked_is_not_gone(product, bucket, operation, status, code):
    saved = await backups_of(product, 2)
    await reconcile(product)
    bucket.remove(saved[0]["target"]["path"])
    before = await facts(product)
    product.b2.faults.fail_next(operation, status=status, code=code, times=100)
    found = await reconcile(product)
    assert found["error"]["code"].startswith("STORAGE")
    assert await facts(product) == before
    product.b2.faults.reset()
    assert (await reconcile(product))["missing"] == 1
    assert sorted((await statuses(product)).values()) == ["MISSING", "PRESENT"]


class Unsorted:
    """A bucket whose listings are right but for their order, or show what was not asked for."""

    def __init__(self, storage, lie):
        self._storage = storage
        self._lie = lie

    def __getattr__(self, name):
        return getattr(self._storage, name)

    async def page(self, prefix, *, start, limit):
        page = await self._storage.page(prefix, start=start, limit=limit)
        return self._lie(page)


def backwards(page):
    return ListedPage(versions=page.versions[::-1], is_last=page.is_last)


def empty_but_more(_page):
    return ListedPage(versions=[], is_last=False)


def beyond(page):
    other = page.versions[0]
    stranger = ListedVersion(
        file_id=other.file_id,
        name="zzz",
        action="upload",
        size=1,
        uploaded_at=other.uploaded_at,
    )
    return ListedPage(versions=[*page.versions, stranger], is_last=page.is_last)


@pytest.mark.parametrize("lie", [backwards, empty_but_more, beyond], ids=lambda lie: lie.__name__)
async def test_a_listing_out_of_order_is_no_listing(product, lie):
    await backups_of(product, 2)
    before = await facts(product)
    async with parts_of(product) as parts:
        lying = {"storage_of": lambda access: Unsorted(parts.storage_of(access), lie)}
        async with product.working(parts=lying):
            found = await reconcile(product, work=False)
    assert found["error"]["code"] == StorageError.code
    assert found["error"]["message"].startswith("Backblaze B2 ")
    assert await facts(product) == before
