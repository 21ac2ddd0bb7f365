"""hypothesis on what schemathesis does not write: query strings and headers byte by byte, bodies of forms that are no
forms, and texts of every kind for what completes them. Straight to the application, as a server would hand it over.
"""

import asyncio
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any

from hypothesis import strategies as st

from benchmarks.fuzz import files
from benchmarks.fuzz.bed import Bed
from benchmarks.fuzz.parsers import Target

JSON = (b"content-type", b"application/json")
KNOWN = {200, 201, 202, 204, 304, 404, 405, 406, 409, 413, 415, 422}


class Wire:
    """`with Wire(bed) as wire:` - asks the application; its lifespan is the block."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self._runner = asyncio.Runner()

    def __enter__(self) -> "Wire":
        self._lifespan = self.bed.application.router.lifespan_context(self.bed.application)
        self._runner.run(self._lifespan.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._lifespan.__aexit__(None, None, None))
        self._runner.close()

    def ask(
        self,
        method: str,
        path: str,
        query: bytes = b"",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        body: bytes = b"",
    ) -> tuple[int, bytes]:
        """The status and content of an answer. Raises what the application raises."""
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query,
            "headers": [
                (b"host", b"inkling"),
                (b"authorization", f"Bearer {self.bed.key}".encode()),
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
            "client": ("127.0.0.1", 1),
            "server": ("inkling", 80),
            "state": {},
        }
        return self._runner.run(self._ask(scope, body))

    async def _ask(self, scope: dict[str, Any], body: bytes) -> tuple[int, bytes]:
        sent, status, content = False, 0, bytearray()

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await asyncio.sleep(60)  # the client waits
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                content.extend(message.get("body", b""))

        await self.bed.app(scope, receive, send)
        return status, bytes(content)


WORDS = st.sampled_from([b"label", b"truncation", b"scale", b"limit", b"after", b"status", b"modality", b"", b"q"])
VALUES = st.one_of(
    st.sampled_from(
        [b"1", b"0.5", b"NaN", b"inf", b"-0", b"1e999", b"%00", b"%FF%FE", b"%ED%A0%80", b"+1", b"1_0", b"%"]
    ),
    st.binary(max_size=12),
)
QUERIES = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(WORDS, VALUES), max_size=5).map(lambda pairs: b"&".join(b"=".join(pair) for pair in pairs)),
)
PARTS = st.one_of(
    st.sampled_from(["pictures", "active", "1", "next-word", "7.png", "7~1@0.2.png", "..", "", "\0", "9" * 30, "%2e"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"accept", b"if-none-match", b"range", b"last-event-id", b"origin", b"idempotency-key"]),
        st.one_of(
            st.sampled_from(
                [
                    b"*/*;q=",
                    b"text/event-stream;q=nan",
                    b"*",
                    b'"',
                    b"bytes=0-",
                    b"bytes=9-1",
                    b"bytes=99999999-",
                    b"9" * 400,
                ]
            ),
            st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")),
        ),
    ),
    max_size=3,
).map(tuple)
FOLDERS = (
    "/images",
    "/models",
    "/jobs",
    "/datasets",
    "/images/pictures/active",
    "/models/pictures/versions",
    "/web",
    "",
)


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """A body of multipart/form-data with the boundary `b`, and what may be wrong with one."""
    out = bytearray()
    for _ in range(draw(st.integers(0, 4))):
        field = draw(
            st.sampled_from([b"file", b"file", b"file", b"name", b"model", b"activate", b"label", b"", b"\xff"])
        )
        name = draw(
            st.sampled_from([b"", b'; filename="a.txt"', b'; filename="a.zip"', b'; filename=""', b"; filename*=x"])
        )
        more = draw(
            st.sampled_from(
                [b"", b"Content-Type: text/plain\r\n", b"Content-Transfer-Encoding: base64\r\n", b"\xff: \r\n"]
            )
        )
        value = draw(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode), files.whole_pictures()))
        out += b'--b\r\nContent-Disposition: form-data; name="' + field + b'"' + name + b"\r\n" + more
        out += b"\r\n" + value + b"\r\n"
    return bytes(out) + draw(st.sampled_from([b"--b--\r\n", b"--b--", b"--b", b""]))


TYPED = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from(
            ["the ", "lord", "\0", "\u202e", "한", "ㅎ", "’", "-", "\n", "\u200d", "👩", "\ud800", "a" * 3000]
        )
    ).map("".join),
)
ASKED = st.fixed_dictionaries(
    {"text": TYPED},
    optional={
        "top_k": st.integers(1, 50),
        "words": st.integers(1, 8),
        "complete_partial": st.sampled_from([True, False, "auto"]),
        "temperature": st.floats(0, 5),
        "seed": st.integers(0, 2**32 - 1),
        "beams": st.integers(1, 8),
        "punctuation": st.booleans(),
        "explain": st.booleans(),
        "context": TYPED,
        "reject": st.lists(TYPED, max_size=3),
        "blocklist": st.lists(TYPED, max_size=3),
    },
)


def targets(wire: Wire) -> list[Target]:
    """What is asked of a running application; a status of the fives, and one that nothing explains, is a failure."""

    def checked(status: int, content: bytes) -> str:
        assert status in KNOWN, f"{status}: {content[:300]!r}"
        return str(status)

    def addresses(given: tuple[str, list[str], bytes, Any]) -> str:
        folder, parts, query, headers = given
        return checked(*wire.ask("GET", "/".join([folder, *parts]) or "/", query, headers))

    def form(given: tuple[str, bytes]) -> str:
        path, body = given
        return checked(
            *wire.ask("POST", path, headers=((b"content-type", b"multipart/form-data; boundary=b"),), body=body)
        )

    def words(asked: dict[str, Any]) -> str:
        status, content = wire.ask("POST", "/predict-next-word", headers=(JSON,), body=json.dumps(asked).encode())
        if status == 200:
            json.loads(content)
        return checked(status, content)

    def json_bodies(given: tuple[str, bytes]) -> str:
        return checked(*wire.ask("POST", given[0], headers=(JSON,), body=given[1]))

    uploads = st.sampled_from(["/datasets", "/score", "/models/import"])
    posts = st.sampled_from(
        ["/predict-next-word", "/generate", "/train", "/evaluate", "/keys", "/models/pictures/prune"]
    )
    values: Callable[[Any], bytes] = lambda value: json.dumps(value).encode("utf-8", "replace")  # noqa: E731
    return [
        Target(
            "addresses and queries",
            st.tuples(st.sampled_from(FOLDERS), st.lists(PARTS, max_size=3), QUERIES, HEADERS),
            addresses,
        ),
        Target("forms", st.tuples(uploads, st.one_of(forms(), files.damaged(forms()))), form),
        Target("typed texts", ASKED, words),
        Target(
            "JSON bodies",
            st.tuples(posts, st.one_of(files.JSON.map(values), files.damaged(files.JSON.map(values)))),
            json_bodies,
        ),
    ]
