"""Point 10: secrets never come out: no answer, log line, error, argv, trace or row shows one."""

import asyncio
import base64
import contextlib
from pathlib import Path
from urllib.parse import quote

import pytest

VALUE = "s3cr3t-value-of-a-variable"
NEW_KEY = "n3w-application-key-that-is-wrong"
SAYING = """printf '%s' "$DB_PASSWORD" | head -c 9 >&2; sleep 0.3
printf '%s' "$DB_PASSWORD" | tail -c +10 >&2; echo " and $DB_PASSWORD" >&2
sh -c 'sleep 0.5'; printf data"""


def _forms(secret):
    """A secret as it may be written."""
    raw = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        base64.b64encode(raw).decode().rstrip("="),
        raw.hex(),
        repr(raw)[2:-1],
    }


def _secrets(product):
    sealing = product.sealing_key.partition(":")[2]
    plain = [product.b2.key, product.token, sealing, VALUE, NEW_KEY]
    return {form for secret in plain for form in _forms(secret)}


def _found(secrets, text):
    return {secret for secret in secrets if secret in text}


async def _dump(product):
    """Every row of every table, as text."""
    async with product.owner.connection() as connection:
        tables = await connection.fetch(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables"
            " where schemaname not in ('pg_catalog', 'information_schema')"
        )
        rows = []
        for table in tables:
            found = await connection.fetch(f"select t::text as line from {table['name']} t")
            rows += [row["line"] for row in found]
            # What is sealed is bytes: they must not be the plain ones in hexadecimal.
    return "\n".join(rows)


@contextlib.contextmanager
def _answers(product):
    """Everything that the gateway answers while this lasts."""
    texts: list[str] = []

    async def keep(response):
        await response.aread()
        texts.append(response.text)
        texts.append(str(response.headers))

    product.client.event_hooks["response"].append(keep)
    try:
        yield texts
    finally:
        product.client.event_hooks["response"].remove(keep)


async def _watch_arguments(lines, ended):
    """The command lines of all processes, this one's and the commands' included."""
    while not ended.is_set():
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                lines.add((entry / "cmdline").read_bytes().decode(errors="replace"))
        await asyncio.sleep(0.05)


@pytest.mark.timeout(120)  # a process starts
async def test_no_secret_is_in_any_answer_log_argument_or_row(product, capfd):
    secrets = _secrets(product)
    lines: set[str] = set()
    ended = asyncio.Event()
    with _answers(product) as answers:
        async with (
            product.worker_process(BACKUP_GATEWAY_LOG_LEVEL="DEBUG") as worker,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(_watch_arguments(lines, ended))
            load = await product.workload(
                "db",
                backup=SAYING,
                restore='cat > got; echo "$DB_PASSWORD"; exit 1',
                variables={"DB_PASSWORD": VALUE},
            )
            backup = await product.back_up(load)
            assert backup["state"] == "LIVE"
            text = "".join(node["text"] for node in backup["logs"]["nodes"])
            assert text == "[secret] and [secret]\n"
            restore = await product.put_back(backup["id"], load.instance(2))
            assert restore["state"] == "FAILED"
            (node,) = restore["logs"]["nodes"]
            assert (node["stream"], node["text"]) == ("STDOUT_TAIL", "[secret]\n")
            error = await _refuse_new_key(product)
            rows = await _dump(product)
            ended.set()
            log = worker.log.read_text()
    assert "key" in error.lower()
    assert "DB_PASSWORD" in "".join(lines)  # the commands were seen, and what they name
    assert "backup is live" in log
    assert _found(secrets, "\n".join(answers)) == set()
    assert _found(secrets, "\n".join(lines)) == set()
    assert _found(secrets, rows) == set()
    assert _found(secrets, log) == set()
    assert _found(secrets, "".join(capfd.readouterr())) == set()


async def _refuse_new_key(product):
    """What is said of a wrong application key."""
    await product.mutate(
        "updateIntegration",
        """mutation ($id: ID!, $keyId: String!, $key: String!) {
          updateIntegration(id: $id, keyId: $keyId, key: $key) { errors {
            __typename code message path } } }""",
        id=product.integration,
        keyId="000000000000",
        key=NEW_KEY,
    )
    async with asyncio.timeout(60):
        while True:
            data = await product.ask(
                "{ hub { integrations { nodes { keyId state error { code message } } } } }"
            )
            (integration,) = data["hub"]["integrations"]["nodes"]
            if integration["error"] is not None:
                return str(integration["error"]["message"])
            await asyncio.sleep(0.1)


@pytest.mark.timeout(60)  # a process starts
async def test_not_even_a_defect_shows_one(product):
    """An error that nobody expects is logged with where it came from, but not with the values."""
    waiting = "touch up; until [ -e go ]; do sleep 0.05; done; head -c 20000000 /dev/zero"
    load = await product.workload(
        "db", backup=waiting, instances=1, variables={"DB_PASSWORD": VALUE}
    )
    async with product.worker_process(BACKUP_GATEWAY_LOG_LEVEL="DEBUG") as worker:
        await product.start_backup(load)
        async with asyncio.timeout(40):
            while not (load.folder(1) / "up").exists():
                await asyncio.sleep(0.05)
            async with product.owner.connection() as connection:
                await connection.execute("alter table backups rename column upload_id to nowhere")
            (load.folder(1) / "go").touch()
            while "run failed unexpectedly" not in (log := worker.log.read_text()):
                await asyncio.sleep(0.05)
    assert "exc_type" in log
    assert "upload_id" in log
    assert _found(_secrets(product), log) == set()


async def test_secrets_in_arguments_that_are_refused_are_not_told_back(product):
    wrong = f'mutation {{ createIntegration(name: "n", keyId: "k", key: "{VALUE}") {{ x }} }}'
    refused = (
        f'mutation {{ createIntegration(name: "", keyId: "", key: "{VALUE}", bucket: "",'
        ' prefix: "") { errors { code message path } } }'
    )
    documents = [wrong, refused.replace("{{", "{").replace("}}", "}")]
    with _answers(product) as answers:
        for document in documents:
            await product.client.post("/graphql", json={"query": document})
        await product.client.post(
            "/graphql",
            json={
                "query": "mutation ($key: Int!) { updateIntegration(id: 1, key: $key) { x } }",
                "variables": {"key": VALUE},
            },
        )
        await product.client.post(
            "/graphql",
            json={"query": "{ viewer { nothing } }"},
            headers={"Authorization": f"Bearer {product.token[:-1]}x"},
        )
    assert len(answers) == 8
    assert _found(_secrets(product), "\n".join(answers)) == set()
