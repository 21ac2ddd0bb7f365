"""The web application: services are built once, here, and reach a router through `app.state`."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import iter_route_contexts

from app import __version__
from app.core import logs, problems, secure, tracing
from app.core.config import Settings
from app.core.direct import Direct
from app.core.document import Sent, complete
from app.core.limits import limits_of
from app.core.metrics import Metrics
from app.core.security import Admission, Cors, Guard, Readers, Rules, describe
from app.core.shedding import Shedding
from app.core.shortcut import Shortcut
from app.core.telemetry import RequestContext, Seen
from app.datasets.router import Gate
from app.datasets.router import router as datasets_router
from app.evaluation import router as evaluation_router
from app.evaluation.service import MOST_BODY, Evaluations
from app.health.router import router as health_router
from app.health.service import Health
from app.inference import picture_router
from app.inference import router as inference_router
from app.inference.album import FromAlbum
from app.inference.gallery import Gallery
from app.inference.schemas import PredictRequest
from app.inference.service import ModelHost
from app.keys.router import router as keys_router
from app.keys.scopes import scope_of
from app.learning.router import router as learning_router
from app.registry.router import router as registry_router
from app.services import STARTERS, Services
from app.training.router import router as training_router
from app.web import router as web

MOST_DIRECT = 64 * 1024  # bytes of a body that is answered without the application
EXPOSED = [
    "X-Request-Id",
    "X-Seeds",
    "X-Model-Version",
    "ETag",
    "Location",
    "Retry-After",
    "Server-Timing",
    "Content-Disposition",
]


def create_app(settings: Settings) -> FastAPI:
    """The application. Raises StartError; what it starts stops with its lifespan."""
    services = Services(settings)
    services.keys.open(settings.host)
    counted = limits_of(settings, shared=services.database.shared)
    services.join(counted)
    with services.database.alone(services.data_dir / ".start.lock"):
        services.sweep()
        services.registry.tidy()
        services.store()
        services.registry.install_starters(STARTERS)
    limits = (settings.queue_size, settings.deadline_seconds, settings.reload_seconds)
    metrics = Metrics()
    waits, preload = settings.queue_seconds, settings.preload
    host = ModelHost(services.registry, services.learning, *limits, metrics, waits, preload, settings.int8)
    gallery = Gallery(host, services.datasets)
    evaluations = Evaluations(host, services.datasets, services.jobs)
    # Set when the service is told to stop: it is not ready then, connections and event streams end with their answer.
    stopping = services.datasets.reader.stopping = threading.Event()
    health = Health(host, services.jobs, services.keys.ring, services.disk, metrics, stopping)
    tracer = tracing.provider(settings.otlp_endpoint) if settings.otlp_endpoint else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(host.start)
        services.keys.start()
        yield
        await run_in_threadpool(services.keys.close)
        stopping.set()  # nobody waits for a picture that is still being read
        await run_in_threadpool(gallery.close)
        await run_in_threadpool(evaluations.close)
        await run_in_threadpool(host.close)
        if tracer is not None:
            await run_in_threadpool(tracer.shutdown)  # sends what is left
        services.close()

    app = FastAPI(
        title="Inkling",
        version=__version__,
        summary="Trains a next-word LSTM and a picture GAN on your own data, and serves them.",
        lifespan=lifespan,
        docs_url=None,  # `app.web` serves it without a CDN
        openapi_url=None,  # below
        redoc_url=None,
        redirect_slashes=False,  # a redirect names the Host and scheme that the request claimed; /models/ is a 404
        telemetry=tracing.config(tracer) if tracer is not None else tracing.OFF,
    )
    # What frames the files in the body comes on top: some headers a file, and the boundary.
    upload = settings.max_upload_bytes + 512 * settings.max_upload_files + 1024 * 1024
    uploads = {("POST", "/datasets"): upload, ("POST", "/models/import"): upload}
    uploads["POST", picture_router.SCORE] = picture_router.MOST_BODY
    uploads["POST", evaluation_router.ROUTE] = MOST_BODY
    ring, rules = services.keys.ring, Rules()
    if tracer is None:  # a trace tells of the route
        respond = partial(inference_router.respond, host)
        app.add_middleware(Shortcut[PredictRequest], path=inference_router.ROUTE, body=PredictRequest, respond=respond)
    app.add_middleware(FromAlbum, album=gallery.album)
    # The last one is the first to see a request: what the guard refuses has an id, and can be read by allowed pages.
    exposed, proxied = not settings.is_local, bool(settings.trusted_proxies)
    admission, readers = Admission(ring, rules, counted, exposed, proxied), Readers(ring.allows, EXPOSED)
    app.add_middleware(Guard, admission=admission)
    seen = _seen(settings, metrics)
    most = settings.max_body_bytes
    app.add_middleware(RequestContext, max_body_bytes=most, uploads=uploads, seen=seen, stopping=stopping)
    app.add_middleware(Cors, ring=ring, expose_headers=EXPOSED)
    queues = {inference_router.ROUTE: host.queues["text"], picture_router.GENERATE: host.queues["images"]}
    # Ahead even of the middleware: see there.
    half = settings.queue_seconds / 2
    app.state.shedding = Shedding(queues, readers, seen, secure.EVERY, stopping, half)
    ask = partial(inference_router.ask, host)
    least = min(most, MOST_DIRECT)
    # A trace tells of the route, and what a proxy says of its caller is read by uvicorn's middleware.
    app.state.direct = (
        Direct(inference_router.ROUTE, PredictRequest, ask, admission, readers, seen, stopping, least)
        if tracer is None and not proxied
        else None
    )
    app.state.settings, app.state.answers, app.state.gate = settings, services.answers, Gate()
    app.state.registry, app.state.datasets, app.state.jobs = services.registry, services.datasets, services.jobs
    app.state.host, app.state.gallery, app.state.transfer = host, gallery, services.transfer
    app.state.evaluations, app.state.learning, app.state.keys = evaluations, services.learning, services.keys
    app.state.health, app.state.stopping = health, stopping
    problems.install(app)
    for router in (
        inference_router.router,
        picture_router.router,
        evaluation_router.router,
        training_router,
        registry_router,
        learning_router,
        datasets_router,
        keys_router,
        health_router,
    ):
        # As they are: `include_router` would make every route a second time, a tenth of a start, to add nothing.
        app.router.routes.extend(router.routes)
    web.install(app)
    document_of = app.openapi

    def openapi() -> dict[str, Any]:
        """The document, with the scope that each operation needs, and every status that it answers with."""
        document = document_of()
        describe(document, rules)
        complete(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_route("/openapi.json", Sent(openapi).answer, include_in_schema=False)
    for route in iter_route_contexts(app.routes):  # after the last one is there
        rules.add(str(route.path), route.methods, scope_of(route.methods, str(route.path)))
    return app


def _seen(settings: Settings, metrics: Metrics) -> tuple[Seen, ...]:
    """Who is told of every request."""
    seen: list[Seen] = [metrics.seen]
    by_default = settings.log_format == "json"  # what collects logs wants requests; a terminal wants to stay readable
    if by_default if settings.access_log is None else settings.access_log:
        seen.append(logs.log_request)
    if settings.otlp_endpoint:
        seen.append(tracing.name_request)
    return tuple(seen)
