"""Album: single pictures that were asked for before, and a middleware that answers GET /images/… from it.

Every view of a page asks again for what does not change. Nothing is drawn then, and finding the route and reading its
parameters would be most of the cost: it is answered ahead of them, inside the guard. Whatever is not plain goes on to
the router. Must not know: how pictures are drawn, keys.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from weakref import ReferenceType, ref

from starlette.types import ASGIApp, Receive, Scope, Send

from app.inference.service import Loaded, ModelHost
from ml.latents import MAX_SEED, Latent, Seed
from ml.serve.images import EDITION, Sampler

MOST_BYTES = 32 * 1024 * 1024  # kept
OVERHEAD = 1024  # bytes that an entry takes beside its picture
PREFIX = "/images/"
CACHE_CONTROL = {True: "no-cache", False: "public, max-age=31536000, immutable"}  # of the active version, of a numbered
SAME = (b"etag", b"cache-control", b"x-model-version")  # what a 304 says, too

Headers = list[tuple[bytes, bytes]]
Address = tuple[str, bytes]  # path and query, as they were spelled


def tag_of(
    loaded: Loaded[Sampler],
    latent: Latent,
    format: str,
    label: int | None = None,
    truncation: float = 1,
    scale: int = 1,
) -> str:
    """The ETag of one picture. All that its bytes depend on goes in, so that it is known before anything is drawn."""
    seen = (EDITION, loaded.predictor.identity, loaded.reference, latent, label, float(truncation), scale, format)
    return f'"{sha256(" ".join(map(str, seen)).encode()).hexdigest()[:32]}"'


def is_known(tag: str, if_none_match: str) -> bool:
    """Whether the caller has the picture with this ETag already (RFC 9110, 13.1.2)."""
    return if_none_match in (tag, "*") or tag in (
        known.strip().removeprefix("W/") for known in if_none_match.split(",")
    )


@dataclass(frozen=True)
class _Kept:
    sampler: "ReferenceType[Sampler]"  # that drew it; a deleted version is not kept in memory by its pictures
    tag: str
    headers: Headers
    content: bytes


class Album:
    """Encoded pictures by address, MOST_BYTES of them; those asked for least recently go first."""

    def __init__(self, host: ModelHost, most_bytes: int = MOST_BYTES) -> None:
        self.host, self.most_bytes, self.bytes = host, most_bytes, 0
        self._kept: OrderedDict[Address, _Kept] = OrderedDict()

    def keep(self, address: Address, loaded: Loaded[Sampler], tag: str, headers: Headers, content: bytes) -> None:
        """From now on this is the answer to the address, as long as the same version in memory is meant by it."""
        self._drop(address)
        self._kept[address] = _Kept(ref(loaded.predictor), tag, list(headers), content)
        self.bytes += len(content) + OVERHEAD
        while self.bytes > self.most_bytes:
            self._drop(next(iter(self._kept)))

    def answer(self, path: str, query: bytes, if_none_match: str) -> tuple[int, Headers, bytes] | None:
        """Status, headers and body for an address, or None where the router must say."""
        parts = path.split("/")
        if len(parts) != 5:
            return None
        _, _, name, version, file = parts
        active = version == "active"
        if not active and not _is_number(version, 9):
            return None
        loaded = self.host.in_memory(name, None if active else int(version))
        if loaded is None:
            return None
        kept = self._kept.get((path, query))
        if kept is not None and kept.sampler() is loaded.predictor:
            self._kept.move_to_end((path, query))
            if if_none_match and is_known(kept.tag, if_none_match):
                return 304, [each for each in kept.headers if each[0] in SAME], b""
            return 200, list(kept.headers), kept.content
        if if_none_match and not query:
            return self._unchanged(loaded, file, active, if_none_match)
        return None

    def _unchanged(
        self, loaded: Loaded[Sampler], file: str, active: bool, if_none_match: str
    ) -> tuple[int, Headers, bytes] | None:
        """304 for the picture of a seed that the caller has, although it is not kept here."""
        seed, _, kind = file.rpartition(".")
        if kind not in ("png", "webp") or not _is_number(seed, 10):
            return None
        number = int(seed)
        tag = tag_of(loaded, Seed(number), kind)
        if number > MAX_SEED or not is_known(tag, if_none_match):
            return None
        said = (tag, CACHE_CONTROL[active], loaded.reference)
        return 304, [(name, value.encode("latin-1")) for name, value in zip(SAME, said, strict=True)], b""

    def _drop(self, address: Address) -> None:
        kept = self._kept.pop(address, None)
        if kept is not None:
            self.bytes -= len(kept.content) + OVERHEAD


class FromAlbum:
    """Answers GET /images/… where the album can. Pure ASGI."""

    def __init__(self, app: ASGIApp, album: Album) -> None:
        self.app, self.album = app, album

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(PREFIX):
            found = self.album.answer(scope["path"], scope["query_string"], _if_none_match(scope["headers"]))
        if found is None:
            await self.app(scope, receive, send)
            return
        status, headers, content = found
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _is_number(text: str, most_digits: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= most_digits


def _if_none_match(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return next((value.decode("latin-1") for name, value in headers if name == b"if-none-match"), "")
