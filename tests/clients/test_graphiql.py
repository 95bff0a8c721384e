"""GraphiQL in a real browser, against a real gateway: the tour, a refusal, what never happens."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, Route, async_playwright, expect
from playwright.async_api import TimeoutError as PageTimeout

from tests.product import Product
from tests.programs import need_program

pytestmark = [
    pytest.mark.needs("chromium"),
    pytest.mark.timeout(180),  # a browser starts, on a busy machine
]

PATIENCE_MS = 8_000
TABS = ["Containers", "BackUp", "FollowBackup", "Restore", "FollowRestore", "Delete"]
HEADERS = '{"Authorization": "Bearer %s"}'
VIOLATIONS = """window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});"""
EDITOR = """([name, text]) => {
  const found = window.__MONACO.editor.getEditors()
    .find((editor) => editor.getModel()?.uri.path.endsWith(name));
  if (text !== null) found.setValue(text);
  return found.getValue();
}"""
STORED = """() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"""


@dataclass(kw_only=True)
class Browser:
    """The page of a gateway, with all that must not happen written down."""

    page: Page
    gateway: str
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    sent: int = 0
    """Operations over HTTP; those over sockets are counted by their sockets."""

    async def open(self) -> None:
        await self.page.goto(self.gateway + "/graphql")
        await expect(self.button("Execute query (Ctrl-Enter)")).to_be_visible()
        await self.page.wait_for_function(
            "() => window.__MONACO?.editor.getEditors().length >= 4", timeout=PATIENCE_MS
        )

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    async def edit(self, name: str, text: str | None = None) -> str:
        """Write an editor where there is a text; gives what it says."""
        value: str = await self.page.evaluate(EDITOR, [name, text])
        return value

    async def type_key(self, key: str) -> None:
        """As a person does: a click behind `Bearer `, and paste."""
        headers = self.page.get_by_label("Headers").locator(".view-line", has_text="Bearer")
        await headers.click()
        await self.page.keyboard.press("End")
        await self.page.keyboard.press("ArrowLeft")
        await self.page.keyboard.insert_text(key)
        assert json.loads(await self.edit("request-headers.json")) == {
            "Authorization": f"Bearer {key}"
        }

    async def choose(self, tab: str, **variables: Any) -> None:
        await self.page.get_by_role("tab", name=tab, exact=True).click()
        await self.page.wait_for_function(
            f"() => ({EDITOR})(['operation.graphql', null]).includes(' {tab}')"
        )
        blank = await self.edit("variables.json")
        if variables:
            assert json.loads(blank).keys() == variables.keys()
            await self.edit("variables.json", json.dumps(variables))

    async def run(self) -> None:
        """Click until the page has sent something: a click into a change of tabs is lost."""
        before = self.sent + len(self.sockets)
        async with asyncio.timeout(60):
            while self.sent + len(self.sockets) == before:
                await self.button("Execute query (Ctrl-Enter)").click()
                for _ in range(100):
                    if self.sent + len(self.sockets) != before:
                        break
                    await asyncio.sleep(0.05)

    async def answer(self, pattern: str) -> dict[str, Any]:
        """The answer, once the response pane holds the pattern."""
        try:
            await self.page.wait_for_function(
                f"(pattern) => new RegExp(pattern).test(({EDITOR})(['response.json', null]))",
                arg=pattern,
                timeout=PATIENCE_MS,
            )
        except PageTimeout:
            shown = await self.edit("response.json")
            pytest.fail(f"No {pattern} within {PATIENCE_MS} ms; the page shows: {shown}")
        answer: dict[str, Any] = json.loads(await self.edit("response.json"))
        return answer

    async def stored(self) -> str:
        stored: str = await self.page.evaluate(STORED)
        return stored

    async def violations(self) -> list[str]:
        found: list[str] = await self.page.evaluate("() => window.violations")
        return found


@pytest.fixture
async def browser(product: Product) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=need_program("chromium"))
        context = await chromium.new_context(viewport={"width": 1400, "height": 900})
        page = await context.new_page()
        browser = Browser(page=page, gateway=product.url)
        here = urlsplit(product.url).netloc

        async def let_pass(route: Route) -> None:
            if urlsplit(route.request.url).netloc == here:
                browser.sent += route.request.method == "POST"
                await route.continue_()
            else:
                browser.foreign.append(route.request.url)
                await route.abort()

        await context.route(re.compile("^https?:"), let_pass)
        await context.add_init_script(VIOLATIONS)
        page.on("pageerror", lambda error: browser.errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                browser.errors.append(message.text)
                if message.type in {"error", "warning"}
                else None
            ),
        )
        page.on("websocket", lambda socket: browser.sockets.append(socket.url))
        yield browser
        await chromium.close()


async def test_the_tour_in_the_page(product: Product, browser: Browser, tmp_path: Path):
    """Look, back up, follow a restore to its end while it runs, delete, and see a refusal."""
    load = await product.workload(
        "notes",
        backup="seq 1000000",
        restore="head -c 1000 > part; while [ ! -e go ]; do sleep 0.05; done; cat > rest",
    )
    async with product.working():
        await browser.open()
        await browser.type_key(product.token)
        await browser.run()
        answer = await browser.answer("notes")
        [container] = answer["data"]["containers"]["nodes"]
        assert container["id"] == load.id

        await browser.choose("BackUp", container=load.id, instance=load.instance(1))
        await browser.run()
        made = (await browser.answer("QUEUED"))["data"]["createBackup"]
        assert made["errors"] == []
        backup_id = made["backup"]["id"]
        await browser.choose("FollowBackup", backup=backup_id)
        await browser.run()
        followed = (await browser.answer("LIVE"))["data"]["backupProgress"]
        assert followed["sizeBytes"] == len("".join(f"{n}\n" for n in range(1, 1_000_001)))

        await browser.choose("Restore", backup=backup_id, instance=load.instance(2))
        await browser.run()
        started = (await browser.answer("QUEUED"))["data"]["restoreBackup"]
        await browser.choose("FollowRestore", restore=started["restore"]["id"])
        await browser.run()
        await browser.answer("TRANSFERRING")
        await browser.page.screenshot(path=tmp_path / "following.png")
        (load.folder(2) / "go").touch()
        ended = (await browser.answer("SUCCEEDED"))["data"]["restoreProgress"]
        assert (ended["exitCode"], ended["progress"]["fraction"]) == (0, 1)
        await expect(browser.button("Execute query (Ctrl-Enter)")).to_be_visible()
        assert browser.sockets == ["ws" + product.url.removeprefix("http") + "/graphql"] * 2

        await browser.choose("Delete", backups=[backup_id, load.id])
        await browser.run()
        results = (await browser.answer("results"))["data"]["deleteBackups"]["results"]
        assert [(one["accepted"], (one["error"] or {}).get("__typename")) for one in results] == [
            (True, None),
            (False, "NotFoundError"),
        ]
        await browser.page.screenshot(path=tmp_path / "deleted.png")
    assert await browser.violations() == []
    assert (browser.foreign, browser.errors) == ([], [])


async def test_what_was_pasted_is_run_at_once(product: Product, browser: Browser):
    """GraphiQL notes 100 ms late which operations a text has, and whether one is a subscription."""
    await browser.open()
    await browser.type_key(product.token)
    await browser.run()
    await browser.answer("containers")
    await browser.choose("FollowRestore", restore="in-no-hub")
    await browser.run()
    await browser.answer("NOT_FOUND")
    assert len(browser.sockets) == 1
    await expect(browser.button("Execute query (Ctrl-Enter)")).to_be_visible()
    await browser.page.evaluate(
        f"""() => {{
            ({EDITOR})(["operation.graphql", "query Pasted {{ viewer {{ name }} }}"]);
            document.querySelector(".graphiql-execute-button").click();
        }}"""
    )
    answer = await browser.answer("viewer|errors")
    assert "errors" not in answer
    assert len(browser.sockets) == 1


async def test_the_key_is_never_stored(product: Product, browser: Browser):
    """GraphiQL's own history would store the headers with each query that was run."""
    await browser.open()
    await browser.type_key(product.token)
    await browser.button("Show History").click()
    await browser.run()
    await browser.answer("containers")
    await browser.choose("BackUp", container="in-no-hub", instance="in-no-hub")
    assert product.token in await browser.edit("request-headers.json")
    await browser.run()
    await browser.answer("NotFoundError")
    # The history and the tabs are written a moment later.
    await browser.page.wait_for_function(
        """() => (localStorage.getItem("graphiql:queries") ?? "").includes("BackUp")
        && (localStorage.getItem("graphiql:tabState") ?? "").includes("in-no-hub")""",
        timeout=PATIENCE_MS,
    )
    assert product.token not in await browser.stored()

    await browser.open()
    assert json.loads(await browser.edit("request-headers.json")) == {"Authorization": "Bearer "}
    tabs = await browser.page.get_by_role("tab").all_inner_texts()
    assert [tab.strip() for tab in tabs if tab.strip() in TABS] == TABS
    assert product.token not in await browser.stored()
    assert await browser.violations() == []
    assert (browser.foreign, browser.errors) == ([], [])


async def test_the_page_says_what_it_lacks_and_loads_the_documentation_with_the_key(
    product: Product, browser: Browser
):
    await browser.open()
    status = browser.page.get_by_role("status").filter(has_text="key")
    await expect(status).to_contain_text("No API key yet")
    await browser.run()
    refused = await browser.answer("errors")
    assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"

    # A wrong key is refused; the schema waits for a better one, and comes with that by itself.
    wrong = "bg_00000000_" + "A" * 43
    async with browser.page.expect_response(lambda answer: answer.status == 401):
        await browser.type_key(wrong)
    await browser.edit("request-headers.json", json.dumps({"authorization": f"bearer {wrong}x"}))
    await browser.edit("request-headers.json", HEADERS % product.token)
    await expect(status).to_contain_text(product.token[:11])
    assert product.token not in await status.inner_text()
    await browser.button("Show Documentation Explorer").click()
    await expect(browser.page.get_by_role("link", name="DeleteBackupsPayload")).to_be_visible(
        timeout=PATIENCE_MS
    )

    # What is loaded only when it is asked for.
    await browser.edit("operation.graphql", "{viewer{name}}")
    await browser.button("Prettify query (Shift-Ctrl-P)").click()
    formatted = "{\n  viewer {\n    name\n  }\n}"
    await browser.page.wait_for_function(
        f"(text) => ({EDITOR})(['operation.graphql', null]).trim() === text", arg=formatted
    )
    assert await browser.violations() == []
    assert browser.foreign == []
    assert set(browser.errors) == {
        "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
    }
