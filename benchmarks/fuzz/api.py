"""schemathesis over the whole OpenAPI document: its examples, the corners of each schema, random requests, and walks
along the document's links. Every answer is checked against the document.
"""

import warnings
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.python.asgi import shutdown_lifespans
from starlette.types import ASGIApp


@schemathesis.check
def listed_status(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Every status is listed by the operation itself: its `default` is for what nobody foresees."""
    if response.status_code == 405 and response.request.method != case.operation.method.upper():
        return
    listed = case.operation.responses.status_codes
    if str(response.status_code) not in listed:
        raise AssertionError(f"{response.status_code} is not among {', '.join(listed)}")


CHECKS = (
    "listed_status",
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
)


@dataclass
class Tally:
    """What was asked and answered."""

    cases: Counter[str] = field(default_factory=Counter)  # by operation
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)  # by operation and status
    phases: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)  # of the fuzzing itself

    @property
    def total(self) -> int:
        return sum(self.cases.values())

    def add(self, event: events.ScenarioFinished) -> None:
        recorder = event.recorder
        for case_id, interaction in recorder.interactions.items():
            label = recorder.cases[case_id].value.operation.label
            self.cases[label] += 1
            self.phases[event.phase.value] += 1
            status = interaction.response.status_code if interaction.response is not None else 0
            self.statuses[label, status] += 1
        for case_id, checks in recorder.checks.items():
            for check in checks:
                case = recorder.cases[case_id].value
                if check.name == "negative_data_rejection" and is_lost_in_a_form(case.media_type, case.body):
                    continue
                if check.status is Status.FAILURE and check.failure_info is not None:
                    said = check.failure_info.failure
                    label = case.operation.label
                    self.failures[label, f"{check.name}: {said.title}"].append(
                        f"{said.message}\n{check.failure_info.code_sample}"
                    )


def is_lost_in_a_form(media_type: str | None, body: object) -> bool:
    """Whether what is wrong about a body may be an empty list, which a form sends as no field at all."""
    return media_type == "multipart/form-data" and isinstance(body, dict) and [] in body.values()


def fuzz(app: ASGIApp, key: str, examples: int, seed: int, deterministic: bool = False) -> Tally:
    """Ask `app` about everything in its document, `examples` random requests an operation and about as many walks.

    `key` may do everything. The application's lifespan begins and ends here.
    """
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "continue-on-failure": True,
            "max-stream-events": 3,
            "request-timeout": 300.0,  # the first look at a built-in data set makes it, at the lowest priority
            "generation": {
                "max-examples": examples,
                "deterministic": deterministic,
                "database": "none",
                "no-shrink": True,
                "with-security-parameters": False,  # random keys get 401 alone; `ignored_auth` sends some
            },
            "auth": {"openapi": {"key": {"bearer": key}}},
            "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
            "suppress-health-check": ["all"],
        }
    )
    tally = Tally()
    with warnings.catch_warnings(), ExitStack() as ended:
        warnings.simplefilter("ignore")  # hypothesis' and schemathesis' own advice
        ended.callback(shutdown_lifespans)
        schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                tally.add(event)
            elif isinstance(event, events.NonFatalError):
                tally.errors.append(
                    f"{event.label}: {event.info.format() if hasattr(event.info, 'format') else event.value}"
                )
            elif isinstance(event, events.FatalError):
                raise event.exception
            elif isinstance(event, events.EngineFinished):
                for failure in event.failures:
                    tally.failures[failure.operation or "the run", failure.title].append(failure.message)
    return tally


def table(tally: Tally) -> str:
    rows = [f"{'cases':>8}  operation"]
    for label, count in sorted(tally.cases.items()):
        seen = ", ".join(f"{status}: {n}" for (of, status), n in sorted(tally.statuses.items()) if of == label)
        rows.append(f"{count:>8}  {label}  ({seen})")
    return "\n".join(rows)
