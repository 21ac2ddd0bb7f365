"""Keys in memory: whose request may do what. Must not know: where keys are kept, which routes there are."""

import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, get_args

from app.core.errors import Forbidden, Unauthorized

KeyScope = Literal["predict", "train", "admin"]  # each holds the ones before it
SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
SAFE = ("GET", "HEAD", "OPTIONS")
HELD = "inkling.key"  # where a request's ASGI scope has its key


@dataclass(frozen=True, slots=True)
class Credential:
    """A live key, as requests are compared with it."""

    id: str
    digest: bytes
    scope: KeyScope
    origins: frozenset[str]  # not empty: only pages of these may use it


class Ring:
    """The live keys in memory, looked up by hash, and the origins whose pages may call. Changed as a whole.

    A key is 256 random bits, so nobody can guess one or choose its hash: the look-up by hash tells nothing, and a slow
    hash, which passwords need because people choose them, would only cost every request its time.
    """

    def __init__(self, may_be_open: bool, origins: Collection[str] = ()) -> None:
        self.may_be_open, self.configured = may_be_open, frozenset(origins)
        self.needed = True
        self._keys: dict[bytes, Credential] = {}
        self._origins: frozenset[str] = self.configured

    def change(self, keys: Iterable[Credential], ever: bool) -> None:
        """From now on these are the live keys; `ever`: there is one, or was."""
        self._keys = {key.digest: key for key in keys}
        self._origins = self.configured.union(*(key.origins for key in self._keys.values()))
        self.needed = ever or not self.may_be_open

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may read answers, if its key is right."""
        return origin in self._origins or "*" in self.configured

    def admit(self, method: str, sent: Mapping[bytes, bytes], needs: KeyScope) -> Credential | None:
        """The request's key; None when none is needed. Raises Unauthorized, Forbidden."""
        if not self.needed:
            self._keep_out_other_pages(method, sent)
            return None
        scheme, _, given = sent.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not given:
            raise Unauthorized(
                "this service asks for a key: send it as the header Authorization: Bearer ink_…; whoever runs the "
                "service makes one with python -m app keys create NAME"
            )
        digest = sha256(given.strip()).digest()
        key = self._keys.get(digest)
        if key is None or not hmac.compare_digest(key.digest, digest):
            raise Unauthorized(
                "this key is not known here, or was revoked; ask whoever runs the service for another",
                code="unknown_key",
            )
        if key.origins:
            origin = sent.get(b"origin", b"").decode("latin-1")
            if origin not in key.origins:
                said = f"not of {origin}" if origin else "and this request has no Origin header"
                raise Forbidden(
                    f"this publishable key works on pages of {', '.join(sorted(key.origins))}, {said}; "
                    "programs need a key without origins",
                    code="wrong_origin",
                )
        require(key, needs)
        return key

    def _keep_out_other_pages(self, method: str, sent: Mapping[bytes, bytes]) -> None:
        """An open service is open to whoever sits at this machine, not to every page that they look at: a form or
        fetch of another origin needs no leave to be sent, only to be read. Raises Forbidden."""
        origin = sent.get(b"origin", b"").decode("latin-1")
        if method in SAFE or not origin or self.allows(origin):
            return
        if b"sec-fetch-site" in sent:  # what the browser knows, whatever a proxy made of Host
            own = sent[b"sec-fetch-site"] in (b"same-origin", b"none")
        else:
            own = origin.split("://")[-1].encode("latin-1") == sent.get(b"host")
        if not own:
            raise Forbidden(
                f"pages of {origin} may not call this service; name the origin in INKLING_CORS_ORIGINS, or make a "
                f"publishable key: python -m app keys create NAME --origin {origin}",
                code="cross_site",
            )


def require(key: Credential | None, needs: KeyScope) -> None:
    """Raises Forbidden when the key's scope is too small; no key: the service is open."""
    if key is not None and SCOPES.index(key.scope) < SCOPES.index(needs):
        raise Forbidden(
            f"this key may only {key.scope}; this needs one with the scope {needs}: "
            f"python -m app keys create NAME --scope {needs}",
            code="scope_too_small",
        )


def key_of(scope: Mapping[str, Any]) -> Credential | None:
    """The key that a request's ASGI scope was let in with."""
    found: Credential | None = scope.get(HELD)
    return found
