"""Who is let in: a key's scope against a route's, on the raw headers, before anything of the body is read.

Must not know: where keys are kept, which routes there are.
"""

import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import Busy, ServiceError
from app.core.limits import Limits
from app.core.problems import answer
from app.core.request import ROUTE
from app.core.ring import HELD, SAFE, Credential, KeyScope, Ring
from app.core.secure import secured

log = logging.getLogger(__name__)

ANY = (*SAFE, "POST", "PUT", "PATCH", "DELETE")  # of a mounted application
STREAM = b"text/event-stream"
ADMITTED = "inkling.admitted"  # in the scope of a request that was let in before it came to the guard


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


class Admission:
    """Whether a request may pass to its route.

    Requests are counted where there is a key, or others can reach the service (`exposed`): on a loopback address and
    without keys there is nobody to share with. A refused one is counted for its address, so that keys are not guessed,
    nor refusals asked for, faster than anything else. `proxied`: addresses are those that a known proxy says.
    """

    def __init__(self, ring: Ring, rules: Rules, limits: Limits, exposed: bool, proxied: bool) -> None:
        self.ring, self.rules, self.limits, self.exposed = ring, rules, limits, exposed
        self._warned = proxied  # who is believed to be a proxy is known then

    def rule(self, scope: Scope) -> Rule | None:
        """The rule of a request's route, which is written into its scope."""
        rule = self.rules.find(scope["method"], scope["path"])
        if rule is not None:
            scope[ROUTE] = rule.route
        return rule

    def admit(self, scope: Scope, rule: Rule | None, sent: Mapping[bytes, bytes]) -> str | None:
        """Write the key of a request with the headers `sent` into its scope. Returns whom it counts for, where requests
        are counted. Raises Unauthorized, Forbidden, Busy."""
        caller, key = self._admit(scope["method"], rule, sent, scope.get("client"))
        if key is not None:
            scope[HELD] = key
        return caller

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


class Guard:
    """Lets a request pass to its route, or answers 401, 403 or 429. Pure ASGI."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app, self.admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or ADMITTED in scope:
            await self.app(scope, receive, send)
            return
        rule = self.admission.rule(scope)
        if rule is not None and rule.needs is None:
            await self.app(scope, receive, send)
            return
        sent, limits = dict(scope["headers"]), self.admission.limits
        streamed = STREAM in sent.get(b"accept", b"")
        try:
            caller = self.admission.admit(scope, rule, sent)
            if streamed:
                limits.open_stream(caller)
        except ServiceError as error:
            await answer(error, scope["path"])(scope, receive, send)
            return
        if HELD in scope:
            send = _kept_private(send)
        try:
            await self.app(scope, receive, send)
        finally:
            if streamed:
                limits.close_stream(caller)


def _kept_private(send: Send) -> Send:
    """A cache between here and the caller must not give to others what a key was needed for."""

    async def keep_private(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "public" in headers.get("cache-control", ""):
                headers["cache-control"] = headers["cache-control"].replace("public", "private")
        await send(message)

    return keep_private


class Readers:
    """Which pages may read answers, as headers of an answer that the middleware `Cors` does not see."""

    def __init__(self, allows: Callable[[str], bool], expose: Collection[str]) -> None:
        """`allows` says whether those of an origin may; `expose` are the headers that they may read."""
        self._allows = allows
        self._exposed = b"access-control-expose-headers: %s\r\n" % ", ".join(expose).encode()

    def lines(self, origin: bytes) -> bytes:
        """For a request from a page of `origin`; empty: from none."""
        if not origin:
            return b"vary: Origin\r\n"
        allowed = self._allows(origin.decode("latin-1"))
        return b"%s%svary: Origin\r\n" % (
            self._exposed,
            b"access-control-allow-origin: %s\r\n" % origin if allowed else b"",
        )


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
