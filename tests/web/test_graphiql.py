"""The page behind `/graphql` in a browser: its policy, its files, its example documents."""

import gzip
import json
import re
from hashlib import sha256
from html import unescape
from pathlib import Path

import httpx
import pytest
from graphql import build_schema, parse, validate

import app.web

ROOT = Path(__file__).parents[2]
STATIC = Path(app.web.__file__).parent / "static"
FOLDER = STATIC / "graphiql"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
EXAMPLES = sorted((STATIC / "examples").glob("*.graphql"))
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def read_asset(name: str) -> bytes:
    """What a browser gets, from how it is stored."""
    packed = FOLDER / f"{name}.gz"
    return gzip.decompress(packed.read_bytes()) if packed.exists() else (FOLDER / name).read_bytes()


async def test_each_answer_has_a_nonce_of_its_own_and_a_strict_policy(http: httpx.AsyncClient):
    first, second = [await http.get("/graphql", headers=BROWSER) for _ in range(2)]
    nonces = [
        re.findall(r'name="csp-nonce" content="([\w-]{24})"', r.text) for r in (first, second)
    ]
    assert [len(found) for found in nonces] == [1, 1]
    assert nonces[0] != nonces[1]
    policy = dict(
        part.partition(" ")[::2] for part in first.headers["content-security-policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "style-src-elem": f"'self' 'nonce-{nonces[0][0]}'",
        "style-src-attr": "'unsafe-inline'",
        "connect-src": "'self'",
        "worker-src": "'self'",
        "font-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["referrer-policy"] == "no-referrer"


async def test_the_page_names_no_other_host(http: httpx.AsyncClient):
    page = await http.get("/graphql", headers=BROWSER)
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", page.text) == [
        "data:,",
        "graphql/assets/graphiql.css",
        "graphql/assets/graphiql.js",
    ]
    assert "//" not in re.sub(r"<script type=\"application/json\".*?</script>", "", page.text)


async def test_the_page_holds_the_example_documents(http: httpx.AsyncClient):
    page = await http.get("/graphql", headers=BROWSER)
    [held] = re.findall(r"id=\"examples\">(.*?)</script>", page.text, re.DOTALL)
    assert json.loads(unescape(held)) == [path.read_text() for path in EXAMPLES]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_valid(path: Path):
    schema = build_schema((ROOT / "schema.graphql").read_text())
    assert validate(schema, parse(path.read_text())) == []


def test_the_examples_are_the_whole_tour():
    titles = [
        re.findall(r"^(?:query|mutation|subscription) (\w+)", path.read_text(), re.MULTILINE)
        for path in EXAMPLES
    ]
    assert titles == [
        ["Containers"],
        ["BackUp"],
        ["FollowBackup"],
        ["Restore"],
        ["FollowRestore"],
        ["Delete"],
    ]


def test_the_files_are_those_of_the_manifest():
    stored = {path.name.removesuffix(".gz") for path in FOLDER.iterdir()} - {"manifest.json"}
    assert {name: sha256(read_asset(name)).hexdigest() for name in stored} == MANIFEST["files"]


def test_the_manifest_names_what_was_asked_for_and_its_licences():
    asked = json.loads((ROOT / "tools/graphiql/package.json").read_text())["dependencies"]
    assert sorted(f"{name} {version}" for name, version in asked.items()) == sorted(
        entry for entry in MANIFEST["versions"] if entry.rpartition(" ")[0] in asked
    )
    licences = read_asset("licences.txt").decode()
    for entry in MANIFEST["versions"]:
        found = re.search(
            rf"^{re.escape(entry)} \((.+)\)\n\n(.{{200,}}?)(?:\n-{{80}}\n|\Z)",
            licences,
            re.MULTILINE | re.DOTALL,
        )
        assert found, entry


@pytest.mark.parametrize("name", sorted(MANIFEST["files"]))
async def test_each_file_is_served(http: httpx.AsyncClient, name: str):
    path = f"/graphql/assets/{name}"
    served = await http.get(path, headers={"accept-encoding": "gzip, br"})
    assert served.status_code == 200
    assert sha256(served.content).hexdigest() == MANIFEST["files"][name]
    is_text = name.endswith((".js", ".css", ".txt"))
    assert served.headers.get("content-encoding") == ("gzip" if is_text else None)
    assert served.headers["x-content-type-options"] == "nosniff"
    again = await http.get(path, headers={"if-none-match": served.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("accept", ["identity", "br", "gzip;q=0", "gzip; q=0.0"])
async def test_a_client_without_gzip_gets_the_plain_text(http: httpx.AsyncClient, accept: str):
    served = await http.get("/graphql/assets/graphiql.css", headers={"accept-encoding": accept})
    assert "content-encoding" not in served.headers
    assert served.content == read_asset("graphiql.css")
    assert served.headers["content-type"].startswith("text/css")


@pytest.mark.parametrize(
    "name", ["manifest.json", "graphiql.js.gz", "nothing.js", "..%2Fexamples%2F4-restore.graphql"]
)
async def test_nothing_else_is_served(http: httpx.AsyncClient, name: str):
    assert (await http.get(f"/graphql/assets/{name}")).status_code == 404
