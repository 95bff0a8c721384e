"""Every named query: it runs in its role, names its columns and its hub, and has an end."""

import re

import asyncpg
import pytest

from app.postgres.pool import Database
from app.postgres.statements import DB, load

NOUNS = sorted(path.stem for path in (DB / "queries").glob("*.sql"))
QUERIES = [(noun, name) for noun in NOUNS for name in load(noun)]
TENANT = [(noun, name) for noun, name in QUERIES if not noun.startswith("workers_")]

# Others than their file's: the operator's commands are the owner's; a key and an address have no
# hub yet.
ROLES = {
    ("workers_hubs", "create"): "owner",
    ("workers_hubs", "find"): "owner",
    ("workers_hubs", "authenticate"): "gateway",
    ("workers_downloads", "redeem"): "gateway",
}
LOCKS = r"\bhub_id = \$1\b|\binsert into \w+ \(\s*hub_id,[^)]*\)\s*values \(\$1,"
# A list without these is as long as its table: a limit, or the ids that were asked for.
BOUNDS = (
    r"\blimit\b",
    r"\bexists \(",
    r"\bany ?\(\$\d",
    r"\b(id|run_id|instance_id|container_id|backup_id|integration_id|hub_id) = \$[12]\b",
    r"^select count\((\*\)|pg_terminate_backend)",
    r"\bpg_advisory_xact_lock\b",
    r"\b(authenticate|redeem_download|forget_hub)\(",
    r"\bonly_row\b|^select id\s+from installation$",
)


def read(query: tuple[str, str]) -> str:
    noun, name = query
    return re.sub(r"--[^\n]*", "", load(noun)[name]).strip()


@pytest.fixture
def databases(
    owner: Database, gateway_database: Database, worker_database: Database
) -> dict[str, Database]:
    return {"owner": owner, "gateway": gateway_database, "worker": worker_database}


def name_role(query: tuple[str, str]) -> str:
    return ROLES.get(query, "worker" if query[0].startswith("workers_") else "gateway")


@pytest.mark.parametrize("role", ["owner", "gateway", "worker"])
async def test_every_query_may_run_in_its_role(databases: dict[str, Database], role: str):
    """Preparing checks no privilege; explaining opens the plan, which does."""
    refused = []
    async with databases[role].connection() as connection:
        for query in QUERIES:
            if name_role(query) != role:
                continue
            try:
                statement = await connection.prepare(read(query))
                nothing = [None] * len(statement.get_parameters())
                await connection.fetch(f"explain {read(query)}", *nothing)
            except asyncpg.PostgresError as error:
                refused.append(f"{'.'.join(query)}: {error}")
    assert refused == []


@pytest.mark.parametrize("query", QUERIES, ids=".".join)
def test_columns_are_listed(query: tuple[str, str]):
    statement = read(query)
    assert not re.search(r"(\bselect|\breturning|,)\s+\*|\.\*", statement)
    unquoted = re.sub(r"'[^']*'|collate \"C\"", "", statement)
    assert unquoted == unquoted.lower()


@pytest.mark.parametrize("query", TENANT, ids=".".join)
def test_a_tenants_query_has_the_hub_as_its_first_argument(query: tuple[str, str]):
    statement = read(query)
    own = query[0] == "hubs" and re.search(r"\bhubs\b[^;]*\nwhere id = \$1", statement)
    assert own or re.search(LOCKS, statement)


@pytest.mark.parametrize("query", QUERIES, ids=".".join)
def test_a_list_has_an_end_and_a_page_an_order(query: tuple[str, str]):
    statement = read(query)
    if statement.startswith("select"):
        assert any(re.search(bound, statement) for bound in BOUNDS)
    for limit in re.finditer(r"\blimit (?!1\b)", statement):
        assert "order by" in statement[: limit.start()]
