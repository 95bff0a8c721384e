"""Containers of real engines that are found by their labels, through the API."""

import asyncio
import os

import pytest

from tests.product import ERRORS, Workload

pytestmark = pytest.mark.timeout(120)  # engines take seconds where others use the machine
engines = pytest.mark.parametrize(
    "kind", ["docker", pytest.param("podman", marks=pytest.mark.matrix)]
)
SEEN = """id identifier name stateful state composeProject composeService engine { id }
sources { value source }
backupPolicy { backup { command cron } restore { command } sources { value source } }
instances { nodes { id hostname replica state engineContainer folder sources { value source } } }"""
COMMANDS = {
    "backup-gateway.backup.command": "cat data",
    "backup-gateway.restore.command": "cat > data; echo COMMITTED > done",
    "backup-gateway.folder": "/data",
}


def compose(identifier, number=1, *, project="shop", service="db", **more):
    """The labels that Compose and a service give a replica."""
    return {
        "backup-gateway.container": identifier,
        "com.docker.compose.project": project,
        "com.docker.compose.service": service,
        "com.docker.compose.container-number": str(number),
        "com.docker.compose.oneoff": "False",
        **COMMANDS,
        **{f"backup-gateway.{name}": value for name, value in more.items()},
    }


def sources(found):
    return {one["value"]: one["source"] for one in found["sources"]}


class Scene:
    """An engine that the hub knows, and its containers."""

    def __init__(self, product, engine):
        self.product = product
        self.engine = engine
        self.started = []
        self.id = ""

    def run(self, labels, **more):
        id = self.engine.run(Labels=labels, **more)
        self.started.append(id)
        return id

    def remove(self, id):
        self.started.remove(id)
        self.engine.remove(id)

    async def make(self, name="engine"):
        made = await self.product.mutate(
            "createEngine",
            f"""mutation ($name: String!, $address: String!) {{
              createEngine(name: $name, address: $address) {{ engine {{ id }} {ERRORS} }} }}""",
            name=name,
            address=self.engine.address,
        )
        self.id = made["engine"]["id"]
        return self.id

    async def see(self, identifier):
        data = await self.product.ask(
            f"""query ($identifier: String!) {{ containers(filter: {{identifier: $identifier}}) {{
              nodes {{ {SEEN} }} }} }}""",
            identifier=identifier,
        )
        nodes = data["containers"]["nodes"]
        return nodes[0] if nodes else None

    async def find(self, identifier, until=bool):
        async with asyncio.timeout(60):
            while not until(found := await self.see(identifier)):
                await asyncio.sleep(0.05)
        return found

    async def states(self, identifier, **states):
        """Wait until the instances are so, by number."""
        wanted = {int(number[1:]): state for number, state in states.items()}
        return await self.find(
            identifier,
            lambda found: (
                found
                and {one["replica"]: one["state"] for one in found["instances"]["nodes"]} == wanted
            ),
        )

    async def problems(self, until=bool):
        async with asyncio.timeout(60):
            while True:
                data = await self.product.ask(
                    """query ($id: ID!) { node(id: $id) { ... on Engine {
                      state problems { code message container label } } } }""",
                    id=self.id,
                )
                if until(found := data["node"]["problems"]):
                    return found
                await asyncio.sleep(0.05)

    def allowed(self):
        return {"engines": ((str(self.product.hub_id), self.engine.address),)}


@pytest.fixture
def make_scene(product, real_engine):
    scenes = []

    def make(kind):
        scenes.append(Scene(product, real_engine(kind)))
        return scenes[-1]

    yield make
    for scene in scenes:
        for container in scene.started:
            scene.engine.remove(container)


def load_of(found):
    return Workload(
        id=found["id"],
        identifier=found["identifier"],
        instances={one["hostname"]: one["id"] for one in found["instances"]["nodes"]},
        folders={},
    )


@engines
async def test_a_service_is_found_saved_and_restored(product, make_scene, tmp_path, kind):
    scene = make_scene(kind)
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(folders, 1):
        folder.mkdir()
        scene.run(compose("orders", number, name="Orders"), folder=folder)
    data = os.urandom(2_500_000)
    (folders[0] / "data").write_bytes(data)
    async with product.working(**scene.allowed()):
        await scene.make()
        found = await scene.states("orders", _1="RUNNING", _2="RUNNING")
        assert (found["name"], found["stateful"], found["engine"]) == (
            "Orders",
            True,
            {"id": scene.id},
        )
        assert (found["composeProject"], found["composeService"]) == ("shop", "db")
        assert sources(found) == {
            "identifier": "LABEL",
            "name": "LABEL",
            "stateful": "DEFAULT",
            "labels": "DEFAULT",
            "backupPolicy": "DEFAULT",
        }
        policy = sources(found["backupPolicy"])
        assert {value for value, source in policy.items() if source == "LABEL"} == {
            "backup.command",
            "restore.command",
        }
        assert policy["backup.timeout"] == "DEFAULT"
        load = load_of(found)
        assert set(load.instances) == {"1.orders", "2.orders"}
        backup = await product.back_up(load)
        assert (backup["state"], backup["error"]) == ("LIVE", None)
        restore = await product.put_back(backup["id"], load.instance(2))
        assert (restore["state"], restore["error"]) == ("SUCCEEDED", None)
        assert (folders[1] / "data").read_bytes() == data
        assert await scene.problems(until=lambda _: True) == []
