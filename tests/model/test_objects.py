"""Object names, part plans and manifests keep what they were given."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import ObjectMismatch
from app.model.backups import BackupTrigger
from app.model.objects import (
    CHUNK_BYTES,
    HASH_BYTES,
    BackupPlace,
    Manifest,
    ManifestPolicy,
    PartPlan,
    below,
    manifest_name,
    parse_manifest,
    parse_object_name,
)

MB = 1_000_000
PLACES = st.builds(
    BackupPlace,
    installation_id=st.uuids(),
    hub_id=st.uuids(),
    container_id=st.uuids(),
    backup_id=st.uuids(),
    token=st.none() | st.text("0123456789abcdef", min_size=8, max_size=8),
    epoch=st.integers(min_value=0, max_value=10**9),
)
PREFIXES = st.sampled_from(["", "a", "team/backups", "a/", "0-1"])
TIMES = st.datetimes(
    min_value=datetime(2020, 1, 1),  # noqa: DTZ001 - hypothesis wants naive bounds
    timezones=st.just(UTC),
)
SECONDS = st.integers(min_value=1, max_value=7 * 86_400).map(lambda s: timedelta(seconds=s))
TEXT = st.text(max_size=40)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    size = draw(st.integers(min_value=0, max_value=9 * CHUNK_BYTES))
    chunks = -(-size // CHUNK_BYTES)
    place = draw(PLACES)
    return Manifest(
        place=place,
        object_name=place.object_name(draw(PREFIXES)),
        file_id=draw(TEXT),
        size=size,
        sha256=draw(st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES)),
        chunk_hashes=draw(st.binary(min_size=chunks * HASH_BYTES, max_size=chunks * HASH_BYTES)),
        container_identifier=draw(TEXT),
        instance_hostname=draw(TEXT),
        trigger=draw(st.sampled_from(BackupTrigger)),
        created_at=draw(TIMES),
        started_at=draw(TIMES),
        finished_at=draw(TIMES),
        policy=ManifestPolicy(
            backup_command=draw(TEXT),
            backup_timeout=draw(SECONDS),
            min_bytes=draw(st.integers(min_value=0, max_value=10**12)),
            restore_command=draw(st.none() | TEXT),
            restore_timeout=draw(st.none() | SECONDS),
        ),
    )


def test_the_plan_holds_100_gb_in_parts_of_16_mb_and_about_5_tb_in_all():
    plan = PartPlan()
    assert [plan.size(n) for n in (1, 6_400, 6_401, 6_800, 6_801, 9_600, 9_601, 10_000)] == [
        16 * MB,
        16 * MB,
        32 * MB,
        32 * MB,
        64 * MB,
        4_096 * MB,
        4_096 * MB,
        4_096 * MB,
    ]
    assert sum(plan.size(n) for n in range(1, 6_401)) == 102_400 * MB
    assert plan.capacity == 5_004_800 * MB
    assert [plan.in_flight(n) for n in (1, 6_401, 6_801, 7_201, 10_000)] == [4, 2, 1, 1, 1]


@pytest.mark.parametrize("number", [-1, 0, 10_001])
def test_there_is_no_part_outside_of_the_plan(number):
    with pytest.raises(ValueError, match=str(number)):
        PartPlan().size(number)


@settings(deadline=None)  # a busy machine is no failure
@given(
    first=st.integers(min_value=1, max_value=10**7),
    steady=st.integers(min_value=0, max_value=50),
    every=st.integers(min_value=1, max_value=20),
    factor=st.integers(min_value=1, max_value=300),
    in_flight=st.integers(min_value=0, max_value=10**9),
)
def test_parts_never_shrink_and_stay_within_the_largest(first, steady, every, factor, in_flight):
    plan = PartPlan(
        first=first,
        steady=steady,
        every=every,
        largest=first * factor,
        parts=100,
        in_flight_bytes=in_flight,
    )
    sizes = [plan.size(n) for n in range(1, 101)]
    assert sizes == sorted(sizes)
    assert all(first <= size <= first * factor for size in sizes)
    assert all(
        plan.in_flight(n) == 1 or plan.in_flight(n) * plan.size(n) <= in_flight
        for n in range(1, 101)
    )


@settings(deadline=None)  # a busy machine is no failure
@given(place=PLACES, prefix=PREFIXES)
def test_an_object_name_says_whose_it_is(place, prefix):
    name = place.object_name(prefix)
    assert parse_object_name(prefix, name) == place
    assert name.startswith(prefix)
    assert "//" not in name


@settings(deadline=None)  # a busy machine is no failure
@given(place=PLACES, prefix=PREFIXES)
def test_what_is_not_exactly_our_name_is_not_ours(place, prefix):
    name = place.object_name(prefix)
    others = [
        manifest_name(name),
        "other/" + name,
        name + "/x",
        name[:-1] + "x",
        name.rpartition("-")[0] + "-01",
        name.rpartition("-")[0] + "-",
        name.rpartition("-")[0] + "-0000000A-1",
        name.rpartition("-")[0] + "-0000001-1",
        name.replace(str(place.hub_id), "{" + str(place.hub_id) + "}"),
        name.replace(str(place.hub_id), place.hub_id.hex),
        "",
    ]
    assert [parse_object_name(prefix, other) for other in others] == [None] * len(others)


@settings(deadline=None)  # a busy machine is no failure
@given(place=PLACES)
def test_file_info_says_whose_the_object_is(place):
    info = place.file_info()
    assert info == {
        "installation": str(place.installation_id),
        "hub": str(place.hub_id),
        "container": str(place.container_id),
        "backup": str(place.backup_id),
        "format-version": "1",
    }


def test_names_below_an_empty_prefix_start_at_the_bucket():
    assert [below("", "x"), below("a/b", "x"), below("a/", "x")] == ["x", "a/b/x", "a/x"]


@settings(deadline=None)  # a busy machine is no failure
@given(manifest=manifests())
def test_a_manifest_is_read_back_as_it_was_written(manifest):
    assert parse_manifest(manifest.encode()) == manifest


@settings(deadline=None)  # a busy machine is no failure
@given(manifest=manifests())
def test_a_manifest_from_before_there_were_tokens_is_read(manifest):
    place = replace(manifest.place, token=None)
    written = replace(manifest, place=place, object_name=place.object_name("kept"))
    document = json.loads(written.encode())
    del document["token"]
    assert parse_manifest(json.dumps(document).encode()) == written


@settings(deadline=None)  # a busy machine is no failure
@given(manifest=manifests(), other=PLACES)
def test_a_manifest_of_another_ones_object_is_refused(manifest, other):
    for name in (other.object_name(""), "x" + manifest.place.object_name(""), ""):
        written = replace(manifest, object_name=name)
        with pytest.raises(ObjectMismatch, match="another backup"):
            parse_manifest(written.encode())


@settings(deadline=None)  # a busy machine is no failure
@given(manifest=manifests(), data=st.data())
def test_a_manifest_that_lost_a_field_is_refused(manifest, data):
    document = json.loads(manifest.encode())
    # One without a token is one from before there were any.
    written = sorted(field for field, value in document.items() if value is not None)
    del document[data.draw(st.sampled_from(written))]
    with pytest.raises(ObjectMismatch):
        parse_manifest(json.dumps(document).encode())


@settings(deadline=None)  # a busy machine is no failure
@given(manifest=manifests(), data=st.data())
def test_a_manifest_with_a_value_of_another_kind_is_refused(manifest, data):
    document = json.loads(manifest.encode())
    field = data.draw(st.sampled_from(sorted(document)))
    values = [-1, [], True] if document[field] is None else [None, -1, [], True]
    document[field] = data.draw(st.sampled_from(values))
    with pytest.raises(ObjectMismatch):
        parse_manifest(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_bytes_that_are_no_manifest_are_refused(data):
    with pytest.raises(ObjectMismatch):
        parse_manifest(data)


@settings(deadline=None)  # a busy machine is no failure
@given(manifest=manifests())
def test_a_manifest_of_another_format_says_so(manifest):
    document = json.loads(manifest.encode()) | {"formatVersion": 2}
    with pytest.raises(ObjectMismatch, match="another version"):
        parse_manifest(json.dumps(document).encode())


@settings(deadline=None)  # a busy machine is no failure
@given(manifest=manifests())
def test_a_manifest_whose_hashes_do_not_fit_its_size_is_refused(manifest):
    document = json.loads(manifest.encode())
    document["size"] += CHUNK_BYTES
    with pytest.raises(ObjectMismatch, match="do not fit"):
        parse_manifest(json.dumps(document).encode())
