"""OpenTelemetry traces of requests, where INKLING_OTLP_ENDPOINT is set; else nothing of it is loaded.

The spans are FastAPI's own. Its logs and metrics stay off: a log of refused values would hold what people typed, and
the metrics are in `app.core.metrics`.
"""

from typing import TYPE_CHECKING

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from starlette.types import Scope

from app import __version__
from app.core.errors import StartError
from app.core.logs import QUIET
from app.core.request import request_id
from app.core.telemetry import timings_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

OFF = TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)


def provider(endpoint: str) -> "TracerProvider":
    """What sends spans to `endpoint` in the background. Raises StartError where the packages for it are missing."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise StartError(
            "INKLING_OTLP_ENDPOINT is set, but the packages that send traces are not installed; install them with "
            "pip install 'inkling[tracing]' (in the source: pip install -e '.[tracing]'), or leave it empty"
        ) from error
    made = TracerProvider(resource=Resource.create({"service.name": "inkling", "service.version": __version__}))
    target = endpoint.rstrip("/")
    target = target if target.endswith("/v1/traces") else f"{target}/v1/traces"
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=target)))
    return made


def config(tracer_provider: "TracerProvider") -> TelemetryConfig:
    """FastAPI's setting: a span for every request but health checks, and one for what it does within."""
    return TelemetryConfig(
        tracing=True,
        metrics=False,
        logs=False,
        operation_spans=True,
        auto_configure=False,
        tracer_provider=tracer_provider,
        exclude=lambda scope: scope.get("path") in QUIET,
    )


def name_request(scope: Scope, status: int, seconds: float) -> None:
    """Put onto the request's span its id, and how long it waited and was worked on; `RequestContext` calls it."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attribute("inkling.request_id", request_id.get())
        for name, spent in timings_of().items():
            span.set_attribute(f"inkling.{name}_ms", round(1000 * spent, 3))
