"""Containers of real engines, through the API: saved, restored, and never committed in halves."""

import asyncio
import os
import signal

import pytest

from tests.product import ERRORS, Workload

pytestmark = pytest.mark.timeout(120)  # engines take seconds where others use the machine
engines = pytest.mark.parametrize(
    "kind", ["docker", pytest.param("podman", marks=pytest.mark.matrix)]
)
ENGINE = "state version unreachableSince error { code message }"


async def make_engine(product, address, *, name="engine"):
    made = await product.mutate(
        "createEngine",
        f"""mutation ($name: String!, $address: String!) {{
          createEngine(name: $name, address: $address) {{ engine {{ id state }} {ERRORS} }} }}""",
        name=name,
        address=address,
    )
    assert made["engine"]["state"] == "VERIFYING"
    return made["engine"]["id"]


async def find_engine(product, id, *, until):
    async with asyncio.timeout(60):
        while True:
            data = await product.ask(
                f"query ($id: ID!) {{ node(id: $id) {{ ... on Engine {{ {ENGINE} }} }} }}", id=id
            )
            if data["node"]["state"] in until:
                return data["node"]
            await asyncio.sleep(0.05)


async def find_instance(product, id, *, until):
    async with asyncio.timeout(60):
        while True:
            data = await product.ask(
                """query ($id: ID!) { node(id: $id) { ... on Instance {
                  state restorable { possible code reason } engine { name } } } }""",
                id=id,
            )
            if until(data["node"]):
                return data["node"]
            await asyncio.sleep(0.05)


async def make_load(product, identifier, engine, containers, **policy):
    made = await product.mutate(
        "createContainer",
        f"""mutation ($identifier: String!) {{
          createContainer(identifier: $identifier, name: $identifier, stateful: true) {{
            container {{ id }} {ERRORS} }} }}""",
        identifier=identifier,
    )
    load = Workload(id=made["container"]["id"], identifier=identifier, instances={}, folders={})
    for number, container in enumerate(containers, 1):
        hostname = f"{number}.{identifier}"
        added = await product.mutate(
            "createInstance",
            f"""mutation ($container: ID!, $hostname: String!, $engine: ID, $there: String) {{
              createInstance(containerId: $container, hostname: $hostname, executor: "docker",
                engineId: $engine, engineContainer: $there, folder: "/data",
                variables: [{{name: "SECRET", value: "sesame"}}]) {{
                instance {{ id }} {ERRORS} }} }}""",
            container=load.id,
            hostname=hostname,
            engine=engine,
            there=container,
        )
        load.instances[hostname] = added["instance"]["id"]
    await product.configure(load, **policy)
    return load


@pytest.fixture
def boxes(real_engine, tmp_path):
    """Two containers of an engine, and the folders that they see as /data."""
    started = []

    def make(kind):
        engine = real_engine(kind)
        folders = [tmp_path / "one", tmp_path / "two"]
        for folder in folders:
            folder.mkdir()
            started.append((engine, engine.run(folder=folder)))
        return engine, [container for _, container in started], folders

    yield make
    for engine, container in started:
        engine.remove(container)


def allow(product, pattern):
    return {"engines": ((str(product.hub_id), pattern),)}


@engines
async def test_one_container_is_saved_and_restored_into_another(product, boxes, kind):
    engine, containers, folders = boxes(kind)
    data = os.urandom(2_500_000)
    (folders[0] / "data").write_bytes(data)
    async with product.working(**allow(product, engine.address)):
        id = await make_engine(product, engine.address)
        found = await find_engine(product, id, until={"LIVE"})
        assert found["version"].lower().startswith(kind)
        load = await make_load(
            product,
            "db",
            id,
            containers,
            backup="cat data; echo $SECRET saved >&2",
            restore="cat > data; echo COMMITTED > done",
            check="test -e done",
        )
        backup = await product.back_up(load)
        assert (backup["state"], backup["error"]) == ("LIVE", None)
        assert backup["sizeBytes"] == len(data)
        assert [entry["text"] for entry in backup["logs"]["nodes"]] == ["[secret] saved\n"]
        restore = await product.put_back(backup["id"], load.instance(2))
        assert (restore["state"], restore["error"]) == ("SUCCEEDED", None)
        assert (folders[1] / "data").read_bytes() == data
        assert engine.processes(containers[1]) == ["sleep infinity"]
        # What is going on there is seen without a run.
        engine.say(containers[1], "pause")
        paused = await find_instance(
            product, load.instance(2), until=lambda one: one["state"] == "PAUSED"
        )
        assert paused["restorable"]["code"] == "INSTANCE_NOT_RUNNING"
        assert paused["engine"] == {"name": "engine"}
        engine.say(containers[1], "unpause")


@engines
async def test_a_worker_that_is_killed_in_mid_restore_commits_nothing(product, boxes, kind):
    engine, containers, folders = boxes(kind)
    (folders[0] / "data").write_bytes(os.urandom(4_000_000))
    allowed = {"BACKUP_GATEWAY_ENGINES": f"{product.hub_id}={engine.address}"}
    async with product.worker_process(**allowed) as worker:
        id = await make_engine(product, engine.address)
        await find_engine(product, id, until={"LIVE"})
        load = await make_load(
            product,
            "db",
            id,
            containers,
            backup="cat data",
            restore="head -c 1000000 > got; touch half; while ! [ -e go ]; do sleep 0.1; done;"
            " cat >> got; echo COMMITTED > done",
        )
        backup = await product.back_up(load)
        restore_id = await product.start_restore(backup["id"], load.instance(2))
        async with asyncio.timeout(60):
            while not (folders[1] / "half").exists():
                await asyncio.sleep(0.05)
        worker.signal(signal.SIGKILL)
        await worker.process.wait()
        (folders[1] / "go").touch()
        async with product.worker_process(**allowed):
            restore = await product.restore_ended(restore_id)
            assert (restore["state"], restore["error"]["code"]) == ("FAILED", "INTERRUPTED")
            assert engine.processes(containers[1]) == ["sleep infinity"]
            assert not (folders[1] / "done").exists()
            # The instance is free again.
            (folders[1] / "go").touch()
            again = await product.put_back(backup["id"], load.instance(2))
            assert again["state"] == "SUCCEEDED"
            assert (folders[1] / "got").read_bytes() == (folders[0] / "data").read_bytes()


async def test_an_engine_that_the_operator_did_not_allow_is_never_asked(product, boxes):
    engine, containers, _ = boxes("docker")
    async with product.working(**allow(product, "unix:///elsewhere/*")):
        id = await make_engine(product, engine.address)
        found = await find_engine(product, id, until={"UNREACHABLE"})
        assert found["error"]["code"] == "EXECUTOR_NOT_ALLOWED"
        assert (found["version"], found["unreachableSince"] is None) == (None, False)
        load = await make_load(
            product, "db", id, containers[:1], backup="echo x", restore="cat > got"
        )
        refused = await product.ask(
            """mutation ($id: ID!) { createBackup(containerId: $id) {
              errors { ... on InvalidStateError { code message } } } }""",
            id=load.id,
        )
        [error] = refused["createBackup"]["errors"]
        assert error["code"] == "ENGINE_NOT_LIVE"
        assert "UNREACHABLE since 20" in error["message"]
        data = await find_instance(product, load.instance(1), until=lambda _: True)
        assert data["restorable"]["code"] == "ENGINE_NOT_LIVE"
        assert "UNREACHABLE since 20" in data["restorable"]["reason"]
        refused = await product.ask(
            """mutation ($id: ID!) { deleteEngine(id: $id) {
              engine { id } errors { code } } }""",
            id=id,
        )
        assert refused["deleteEngine"] == {"engine": None, "errors": [{"code": "ENGINE_IN_USE"}]}
