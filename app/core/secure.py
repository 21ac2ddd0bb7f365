"""Headers that every answer carries against what browsers would do with it. Must not know: routes, keys.

An answer that sets one of them itself keeps its own: the page its policy, pictures and widgets that other sites may
embed their Cross-Origin-Resource-Policy. Strict-Transport-Security is left to whoever speaks TLS in front.
"""

from collections.abc import Collection, Iterable

Header = tuple[bytes, bytes]

# An answer of the API that is opened as a page may load nothing.
NOTHING = b"default-src 'none'; frame-ancestors 'none'"
POLICY, RESOURCE, FRAMES = b"content-security-policy", b"cross-origin-resource-policy", b"x-frame-options"

EVERY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (POLICY, NOTHING),
    (FRAMES, b"DENY"),  # says to old browsers what frame-ancestors says
    (RESOURCE, b"same-origin"),
)
EMBEDDED = (RESOURCE, b"cross-origin")  # of what other sites may show: pictures, widgets
_EVERY_NAME = frozenset(name for name, _ in EVERY)
_PICTURES = (".png", ".webp")


def secured(headers: Iterable[Header], path: str) -> list[Header]:
    """The headers of an answer, and those of EVERY that are not among them. `path` is what was asked for."""
    kept = list(headers)
    own = _EVERY_NAME.intersection([name for name, _ in kept])
    if path.endswith(_PICTURES):
        return [*kept, *(_OF_PICTURES if not own else without(_OF_PICTURES, own))]
    return [*kept, *(EVERY if not own else without(EVERY, own))]


def without(headers: Iterable[Header], names: Collection[bytes]) -> list[Header]:
    return [header for header in headers if header[0] not in names]


_OF_PICTURES = (*without(EVERY, (RESOURCE,)), EMBEDDED)
