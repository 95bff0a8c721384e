"""Containers of real engines that are found by their labels, through the API."""

import asyncio
import os
import secrets
from datetime import timedelta

import pytest

from tests.product import ERRORS, Workload

pytestmark = pytest.mark.timeout(120)  # engines take seconds where others use the machine
engines = pytest.mark.parametrize(
    "kind", ["docker", pytest.param("podman", marks=pytest.mark.matrix)]
)
SEEN = """id identifier name stateful state composeProject composeService engine { id }
sources { value source }
backupPolicy { backup { command cron } restore { command } sources { value source } }
instances(first: 4) { nodes {
  id hostname replica state engineContainer folder sources { value source } } }"""
COMMANDS = {
    "backup-gateway.backup.command": "cat data",
    "backup-gateway.restore.command": "cat > data; echo COMMITTED > done",
    "backup-gateway.folder": "/data",
}


def sources(found):
    return {one["value"]: one["source"] for one in found["sources"]}


class Scene:
    """An engine that the hub knows, and the test's own containers there: others have theirs."""

    def __init__(self, product, engine):
        self.product = product
        self.engine = engine
        self.started = []
        self.names = set()
        self.id = ""
        self.project = f"shop{secrets.token_hex(4)}"

    def name(self, identifier):
        return f"{self.project}-{identifier}"

    def run(self, identifier="orders", number=1, *, service="db", folder=None, **labels):
        """Start a replica of a service, as Compose does."""
        id = self.engine.run(
            folder=folder,
            Labels={
                "backup-gateway.container": self.name(identifier),
                "com.docker.compose.project": self.project,
                "com.docker.compose.service": service,
                "com.docker.compose.container-number": str(number),
                "com.docker.compose.oneoff": "False",
                **COMMANDS,
                **{f"backup-gateway.{name}": value for name, value in labels.items()},
            },
        )
        self.started.append(id)
        self.names.add(self.engine.ask("GET", f"/containers/{id}/json")["Name"].lstrip("/"))
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
            f"""query ($identifier: String!) {{
              containers(filter: {{identifier: $identifier}}, first: 1) {{
                nodes {{ {SEEN} }} }} }}""",
            identifier=self.name(identifier),
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
                own = [one for one in data["node"]["problems"] if one["container"] in self.names]
                if data["node"]["state"] == "LIVE" and until(own):
                    return own
                await asyncio.sleep(0.05)

    async def delete(self, found):
        await self.product.mutate(
            "deleteContainer",
            f"""mutation ($id: ID!, $confirm: String!) {{
              deleteContainer(id: $id, confirm: $confirm) {{ {ERRORS} }} }}""",
            id=found["id"],
            confirm=found["identifier"],
        )

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
        scene.run("orders", number, name="Orders", folder=folder)
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
        assert (found["composeProject"], found["composeService"]) == (scene.project, "db")
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
        assert set(load.instances) == {f"{number}.{scene.name('orders')}" for number in (1, 2)}
        backup = await product.back_up(load)
        assert (backup["state"], backup["error"]) == ("LIVE", None)
        restore = await product.put_back(backup["id"], load.instance(2))
        assert (restore["state"], restore["error"]) == ("SUCCEEDED", None)
        assert (folders[1] / "data").read_bytes() == data
        assert await scene.problems(until=lambda _: True) == []


@pytest.fixture
def by_events(monkeypatch):
    """Looks come by events alone: none comes by itself for an hour."""
    monkeypatch.setattr("app.service.engines.LOOKED_AT_AFTER", timedelta(hours=1))


@engines
@pytest.mark.usefixtures("by_events")
async def test_what_happens_to_replicas_is_seen_by_events(product, make_scene, tmp_path, kind):
    scene = make_scene(kind)
    (tmp_path / "data").write_text("kept")
    one = scene.run("orders")
    async with product.working(**scene.allowed()):
        await scene.make()
        first = await scene.states("orders", _1="RUNNING")
        # Scaled up, and saved.
        two = scene.run("orders", 2, folder=tmp_path)
        found = await scene.states("orders", _1="RUNNING", _2="RUNNING")
        load = load_of(found)
        backup = await product.back_up(load, 2)
        assert (backup["state"], backup["error"]) == ("LIVE", None)
        for action, state in (("pause", "PAUSED"), ("unpause", "RUNNING"), ("kill", "STOPPED")):
            scene.engine.say(two, action)
            await scene.states("orders", _1="RUNNING", _2=state)
        # Scaled down: nothing of it is deleted.
        scene.remove(two)
        found = await scene.states("orders", _1="RUNNING", _2="GONE")
        assert load_of(found).instances == load.instances
        assert (await product.backup(backup["id"]))["state"] == "LIVE"
        # Made anew: the same instances, though the engine has others.
        two = scene.run("orders", 2, folder=tmp_path)
        scene.remove(one)
        scene.run("orders")
        found = await scene.find(
            "orders",
            lambda found: (
                [node["state"] for node in found["instances"]["nodes"]] == ["RUNNING"] * 2
                and {node["engineContainer"] for node in found["instances"]["nodes"]}
                == set(scene.started)
            ),
        )
        assert (found["id"], load_of(found).instances) == (first["id"], load.instances)
        (tmp_path / "data").unlink()
        restore = await product.put_back(backup["id"], load.instance(2))
        assert (restore["state"], restore["error"]) == ("SUCCEEDED", None)
        assert (tmp_path / "data").read_text() == "kept"
        # All of it disappears, and the backup stays.
        for id in list(scene.started):
            scene.remove(id)
        await scene.states("orders", _1="GONE", _2="GONE")
        assert (await product.backup(backup["id"]))["state"] == "LIVE"


@pytest.mark.usefixtures("by_events")
async def test_a_policy_follows_its_labels_and_stays_where_they_are_wrong(product, make_scene):
    scene = make_scene("docker")

    async def deploy(**labels):
        """As Compose makes a container anew."""
        for id in list(scene.started):
            scene.remove(id)
        scene.run(**labels)

    async with product.working(**scene.allowed()):
        await scene.make()
        await deploy(**{"backup.cron": "@daily", "stateful": "yes"})
        found = await scene.find("orders", lambda found: found and found["backupPolicy"])
        assert found["backupPolicy"]["backup"] == {"command": "cat data", "cron": "@daily"}
        [problem] = await scene.problems()
        assert (problem["code"], problem["label"]) == ("INVALID_LABEL", "backup-gateway.stateful")
        assert problem["message"] == "It is neither true nor false."
        await deploy(**{"backup.cron": "@hourly", "name": "Orders"})
        found = await scene.find("orders", lambda found: found["name"] == "Orders")
        assert found["backupPolicy"]["backup"]["cron"] == "@hourly"
        # What cannot be carried out changes nothing.
        await deploy(**{"backup.cron": "at noon", "backup.command": "cat other", "name": "Wrong"})
        found = await scene.find("orders", lambda found: found["name"] == "Wrong")
        assert found["backupPolicy"]["backup"] == {"command": "cat data", "cron": "@hourly"}
        [problem] = await scene.problems()
        assert (problem["code"], problem["label"]) == (
            "INVALID_LABEL",
            "backup-gateway.backup.cron",
        )
        # A service without data has no policy.
        await deploy(stateful="false")
        found = await scene.find("orders", lambda found: not found["stateful"])
        assert found["backupPolicy"] is None
        await scene.problems(until=lambda found: found == [])


async def test_the_api_wins_over_labels_until_they_are_to_be_followed(product, make_scene):
    scene = make_scene("docker")
    scene.run("orders", name="Orders")
    async with product.working(**scene.allowed()):
        await scene.make()
        found = await scene.states("orders", _1="RUNNING")
        load = load_of(found)
        await product.configure(load, backup="cat mine", restore=None)
        update = f"""mutation ($id: ID!, $name: String, $follow: Boolean! = false) {{
          updateContainer(id: $id, name: $name, followLabels: $follow) {{
            container {{ id }} {ERRORS} }} }}"""
        await product.mutate("updateContainer", update, id=load.id, name="Mine")
        await product.mutate(
            "updateInstance",
            f"""mutation ($id: ID!) {{ updateInstance(id: $id, folder: "/tmp") {{
              instance {{ id }} {ERRORS} }} }}""",
            id=load.instance(1),
        )
        # Made anew with other labels.
        scene.remove(scene.started[0])
        new = scene.run("orders", name="Other", **{"backup.command": "cat other"})
        found = await scene.find(
            "orders", lambda found: found["instances"]["nodes"][0]["engineContainer"] == new
        )
        assert (found["name"], found["backupPolicy"]["backup"]["command"]) == ("Mine", "cat mine")
        assert set(sources(found["backupPolicy"]).values()) == {"API"}
        said = sources(found)
        assert (said["identifier"], said["name"], said["backupPolicy"]) == ("LABEL", "API", "API")
        [instance] = found["instances"]["nodes"]
        assert (instance["folder"], sources(instance)["folder"]) == ("/tmp", "API")
        # Removed through the API: it stays so.
        await product.mutate(
            "configureBackups",
            f"""mutation ($id: ID!) {{ configureBackups(containerId: $id, policy: null) {{
              {ERRORS} }} }}""",
            id=load.id,
        )
        scene.run("orders", 2)
        found = await scene.states("orders", _1="RUNNING", _2="RUNNING")
        assert found["backupPolicy"] is None
        await product.mutate("updateContainer", update, id=load.id, follow=True)
        found = await scene.find(
            "orders", lambda found: found["name"] == scene.name("orders") and found["backupPolicy"]
        )
        assert found["backupPolicy"]["backup"]["command"] == "cat data"
        assert sources(found["backupPolicy"])["backup.command"] == "LABEL"
        assert found["instances"]["nodes"][0]["folder"] == "/data"


async def test_nothing_is_joined_that_is_somebody_elses(product, make_scene):
    scene = make_scene("docker")
    mine = await product.workload(scene.name("mine"), backup="cat data", instances=0)
    scene.run("mine")
    scene.run("orders")
    scene.run("orders", service="cache")
    async with product.working(**scene.allowed()):
        await scene.make()
        first = await scene.states("orders", _1="RUNNING")
        found = await scene.see("mine")
        assert (found["id"], found["instances"]["nodes"]) == (mine.id, [])
        assert set(sources(found).values()) == {"API"}
        problems = await scene.problems()
        assert {one["code"] for one in problems} == {"NOT_JOINED", "DUPLICATE_CONTAINER"}
        # The same containers through another engine of the hub are others.
        await scene.make("another")
        problems = await scene.problems()
        assert [one["code"] for one in problems].count("NOT_JOINED") == 2
        assert any("another engine" in one["message"] for one in problems)
        assert await scene.see("orders") == first


async def test_what_was_deleted_is_not_taken_up_again_as_it_is(product, make_scene):
    scene = make_scene("docker")
    ids = [scene.run("orders", number) for number in (1, 2)]
    async with product.working(**scene.allowed()):
        await scene.make()
        found = await scene.states("orders", _1="RUNNING", _2="RUNNING")
        load = load_of(found)
        await product.mutate(
            "deleteInstance",
            f"mutation ($id: ID!) {{ deleteInstance(id: $id) {{ {ERRORS} }} }}",
            id=load.instance(2),
        )
        await scene.problems(
            until=lambda found: [one["code"] for one in found] == ["INSTANCE_DELETED"]
        )
        scene.remove(ids[1])
        scene.run("orders", 2)
        again = await scene.states("orders", _1="RUNNING", _2="RUNNING")
        assert load_of(again).instance(1) == load.instance(1)
        assert load_of(again).instance(2) != load.instance(2)
        await scene.delete(again)
        # Not even where it is scaled up.
        scene.run("orders", 3)
        await scene.problems(
            until=lambda found: [one["code"] for one in found] == ["CONTAINER_DELETED"] * 2
        )
        await product.mutate(
            "undeleteContainer",
            f"mutation ($id: ID!) {{ undeleteContainer(id: $id) {{ {ERRORS} }} }}",
            id=load.id,
        )
        scene.engine.say(scene.started[0], "kill")
        found = await scene.states("orders", _1="STOPPED", _2="RUNNING", _3="RUNNING")
        assert found["id"] == load.id


@pytest.mark.usefixtures("by_events")
async def test_an_engine_that_is_restarted_is_looked_at_anew(product, own_engine):
    scene = Scene(product, own_engine)
    one = scene.run("orders")
    async with product.working(**scene.allowed()):
        await scene.make()
        first = await scene.states("orders", _1="RUNNING")
        # The end of its events is told, then the failure, then its return.
        await asyncio.to_thread(own_engine.restart)
        await scene.states("orders", _1="STOPPED")
        own_engine.say(one, "start")
        assert await scene.states("orders", _1="RUNNING") == first
        scene.run("more")
        await scene.states("more", _1="RUNNING")


@pytest.mark.parametrize("product_settings", [{"delete_grace": timedelta(seconds=1)}])
async def test_what_was_deleted_for_good_comes_back_new_when_it_is_made_anew(product, make_scene):
    scene = make_scene("docker")
    old = scene.run()
    async with product.working(**scene.allowed()):
        await scene.make()
        first = await scene.states("orders", _1="RUNNING")
        await scene.delete(first)
        await scene.find("orders", lambda found: found is None)
        await scene.problems(
            until=lambda found: [one["code"] for one in found] == ["CONTAINER_DELETED"]
        )
        scene.run()
        scene.remove(old)
        second = await scene.states("orders", _1="RUNNING")
        assert second["id"] != first["id"]
        assert second["instances"]["nodes"][0]["id"] != first["instances"]["nodes"][0]["id"]


async def test_what_is_an_instance_of_the_api_is_not_found(product, make_scene):
    scene = make_scene("docker")
    container = scene.run()
    load = await product.workload(scene.name("mine"), backup="cat data", instances=0)
    async with product.working(**scene.allowed()):
        engine = await scene.make()
        await scene.states("orders", _1="RUNNING")
        await product.mutate(
            "createInstance",
            f"""mutation ($container: ID!, $engine: ID!, $there: String!) {{
              createInstance(containerId: $container, hostname: "one", executor: "docker",
                engineId: $engine, engineContainer: $there) {{ {ERRORS} }} }}""",
            container=load.id,
            engine=engine,
            there=container[:12],
        )
        await scene.problems(
            until=lambda found: [one["code"] for one in found] == ["INSTANCE_OF_API"]
        )
        await scene.states("orders", _1="GONE")
