"""docs/clients.md: its JavaScript runs in a page of another origin, on the real service, and prints what it says."""

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage

from tests.e2e.browsing import HANG
from tests.flow.service import Service

DOCS = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
HERE = "http://127.0.0.1:8000"
PAGE = '<!doctype html><title>a</title><link rel="icon" href="data:,"><script type="module" src="a.js"></script>'
# Values as text, so that they are compared with the document's; and an error ends the wait.
LISTEN = """
const say = console.log;
console.log = (...all) => say(all.map((each) => (typeof each === "object" ? JSON.stringify(each) : each)).join(" "));
addEventListener("error", ({ message }) => say(`-- failed: ${message}`));
addEventListener("unhandledrejection", ({ reason }) => say(`-- failed: ${reason}`));
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder, and the origin that it is served at."""
    folder = tmp_path_factory.mktemp("site")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, site: tuple[Path, str]) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("service") / "data", cors_origins=site[1])
    made.start()
    yield made
    made.close()


def examples() -> list[tuple[str, str]]:
    """Each block of JavaScript, with the output printed under it; `…` stands for anything."""
    part = DOCS.read_text(encoding="utf-8").split("\n## JavaScript\n")[1].split("\n## ")[0]
    return re.findall(r"```js\n(.*?)```\n\n```text\n(.*?)```", part, re.DOTALL)


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_examples_print_what_they_say(browser: Browser, service: Service, site: tuple[Path, str]) -> None:
    folder, origin = site
    found = examples()
    assert len(found) == DOCS.read_text(encoding="utf-8").count("```js\n") == 7
    code = "".join(f'{block}\nconsole.log("-- end of {at}");\n' for at, (block, _) in enumerate(found))
    (folder / "index.html").write_text(PAGE)
    (folder / "a.js").write_text(code.replace(HERE, f"http://127.0.0.1:{service.port}"))

    page = browser.new_page()
    page.add_init_script(LISTEN)
    printed: list[list[str]] = [[]]
    wrong: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type != "log" or message.text.startswith("-- failed"):
            wrong.append(message.text)
        elif message.text.startswith("-- end of"):
            printed.append([])
        else:
            printed[-1].append(message.text)

    page.on("console", hear)
    last = f"-- end of {len(found) - 1}"
    with page.expect_console_message(lambda message: message.text.startswith((last, "-- failed")), timeout=HANG):
        page.goto(f"{origin}/index.html")
    assert [text for text in wrong if "422" not in text and "ERR_" not in text] == [], printed[-2:]
    for (block, expected), lines in zip(found, printed, strict=False):
        pattern = ".*?".join(re.escape(part) for part in squeezed(expected).split("…"))
        said = squeezed("\n".join(lines))
        assert re.fullmatch(pattern, said), f"{block}\nprinted  {said}\nnot      {expected}"
    page.close()
