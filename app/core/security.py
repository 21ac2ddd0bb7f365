"""Who is let in: a key's scope against a route's, on the raw headers, before anything of the body is read.

Must not know: where keys are kept, which routes there are.
"""

import hmac
import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, get_args

from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import Busy, Forbidden, ServiceError, Unauthorized, answer
from app.core.limits import Limits
from app.core.secure import secured
from app.core.telemetry import ROUTE

log = logging.getLogger(__name__)

KeyScope = Literal["predict", "train", "admin"]  # each holds the ones before it
SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
SAFE = ("GET", "HEAD", "OPTIONS")
ANY = (*SAFE, "POST", "PUT", "PATCH", "DELETE")  # of a mounted application
STREAM = b"text/event-stream"
_HELD = "inkling.key"  # where a request's ASGI scope has its key


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
    found: Credential | None = scope.get(_HELD)
    return found


@dataclass(frozen=True, slots=True)
class Rule:
    """A route, as it is written down, and the scope that it needs."""

    route: str
    needs: KeyScope | None


class Rules:
    """Which scope each route needs. Routes in the order in which they are matched; None is for everyone."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, str], Rule] = {}
        self._patterns: list[tuple[re.Pattern[str], Collection[str], Rule]] = []

    def add(self, path: str, methods: Collection[str] | None, needs: KeyScope | None) -> None:
        """No methods: a mounted application, and everything below its path."""
        rule = Rule(path, needs)
        if methods is None:
            methods, path = ANY, path + "/{path:path}"
        for method in methods:
            # Where an earlier pattern fits, too, that route answers, and its rule holds.
            if "{" not in path and self._pattern(method, path) is None:
                self._exact.setdefault((method, path), rule)
        self._patterns.append((compile_path(path)[0], frozenset(methods), rule))

    def of(self, method: str, path: str) -> KeyScope | None:
        """None: for everyone, or no route at all, which the router answers with 404 or 405."""
        found = self.find(method, path)
        return found.needs if found else None

    def find(self, method: str, path: str) -> Rule | None:
        """None: no route at all."""
        return self._exact.get((method, path)) or self._pattern(method, path)

    def _pattern(self, method: str, path: str) -> Rule | None:
        return next(
            (rule for pattern, methods, rule in self._patterns if method in methods and pattern.match(path)), None
        )


class Guard:
    """Lets a request pass to its route, or answers 401, 403 or 429. Pure ASGI.

    Requests are counted where there is a key, or others can reach the service (`exposed`): on a loopback address and
    without keys there is nobody to share with. A refused one is counted for its address, so that keys are not guessed,
    nor refusals asked for, faster than anything else. `proxied`: addresses are those that a known proxy says.
    """

    def __init__(self, app: ASGIApp, ring: Ring, rules: Rules, limits: Limits, exposed: bool, proxied: bool) -> None:
        self.app, self.ring, self.rules, self.limits, self.exposed = app, ring, rules, limits, exposed
        self._warned = proxied  # who is believed to be a proxy is known then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        rule = self.rules.find(method, path)
        if rule is not None:
            scope[ROUTE] = rule.route
            if rule.needs is None:
                await self.app(scope, receive, send)
                return
        sent = dict(scope["headers"])
        streamed = STREAM in sent.get(b"accept", b"")
        try:
            caller, key = self._admit(method, rule, sent, scope.get("client"))
            if streamed:
                self.limits.open_stream(caller)
        except ServiceError as error:
            await answer(error, path)(scope, receive, send)
            return
        if key is not None:
            scope[_HELD] = key
            send = _kept_private(send)
        try:
            await self.app(scope, receive, send)
        finally:
            if streamed:
                self.limits.close_stream(caller)

    def _admit(
        self, method: str, rule: Rule | None, sent: Mapping[bytes, bytes], client: tuple[str, int] | None
    ) -> tuple[str | None, Credential | None]:
        """Whom the request counts for, where requests are counted, and its key, where one is needed.

        Raises Unauthorized, Forbidden, Busy."""
        counted, address = self.exposed or self.ring.needed, client[0] if client else "unknown"
        try:
            key, refused = self.ring.admit(method, sent, rule.needs) if rule and rule.needs else None, None
        except ServiceError as error:
            key, refused = None, error
        caller = None
        if counted:
            changes = rule is not None and rule.needs != "predict" and method not in SAFE and refused is None
            try:
                if key is None:
                    caller = self.limits.check(address, changes=changes)
                else:
                    caller = self.limits.check(address, key.id, bool(key.origins), changes)
            except Busy:
                self._warn(sent, address)
                raise
        if refused is not None:
            raise refused
        return caller, key

    def _warn(self, sent: Mapping[bytes, bytes], address: str) -> None:
        """Once: who stands behind a proxy that is not known has everybody's requests counted for one address."""
        if b"x-forwarded-for" in sent and not self._warned:
            self._warned = True
            log.warning(
                "requests of %s are limited, and say that they came through a proxy: if it is yours, name it in "
                "INKLING_TRUSTED_PROXIES, so that its visitors are told apart",
                address,
            )


def _kept_private(send: Send) -> Send:
    """A cache between here and the caller must not give to others what a key was needed for."""

    async def keep_private(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "public" in headers.get("cache-control", ""):
                headers["cache-control"] = headers["cache-control"].replace("public", "private")
        await send(message)

    return keep_private


class Cors(CORSMiddleware):
    """The allow-list is the ring's, which changes as publishable keys come and go.

    A preflight carries no key: one is allowed to every origin that a live key names.
    """

    def __init__(self, app: ASGIApp, ring: Ring, expose_headers: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=sorted(ring.configured),
            allow_methods=("GET", "POST", "PUT", "DELETE"),
            allow_headers=("*",),
            expose_headers=expose_headers,
        )
        self._ring = ring

    def is_allowed_origin(self, origin: str) -> bool:
        return self._ring.allows(origin)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        response.raw_headers = secured(response.raw_headers, "")
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and b"origin" not in [name for name, _ in scope["headers"]]:
            await self.app(scope, receive, _varying(send))
            return
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if not self._ring.allows(headers.get("origin", "")):  # 405 and a problem, like any other OPTIONS
                await self.simple_response(scope, receive, send, headers)
                return
        await super().__call__(scope, receive, send)


def _varying(send: Send) -> Send:
    """What Starlette does for who sends no Origin: the answer says that it may depend on one."""

    async def vary(message: Message) -> None:
        if message["type"] == "http.response.start":
            named = [value for name, value in message["headers"] if name == b"vary"]
            kept = [header for header in message["headers"] if header[0] != b"vary"] if named else message["headers"]
            message["headers"] = [*kept, (b"vary", b", ".join([*named, b"Origin"]))]
        await send(message)

    return vary


def describe(document: dict[str, Any], rules: Rules) -> None:
    """Say in the OpenAPI document which routes need a key, with which scope, and what is answered without."""
    document.setdefault("components", {}).setdefault("securitySchemes", {})["key"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "A key, `ink_…`. None is needed while the service has none: see `keys` in /health/ready.",
    }
    for path, item in document["paths"].items():
        for method, operation in item.items():
            needs = rules.of(method.upper(), path)
            if needs is None:
                continue
            operation["security"] = [{"key": []}]
            problem = operation["responses"]["default"]["content"]
            for status, description in (
                ("401", "No key was sent, or one that is not known here"),
                ("403", f"The key has not the scope `{needs}`, or is bound to another origin"),
            ):
                operation["responses"][status] = {"description": description, "content": problem}
