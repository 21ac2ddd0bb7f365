"""Who is asked: our service, the no-op endpoint and the rivals, each with its own environment, route and JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.service import ROOT
from benchmarks.serving.models import LECTURE, MEDIUM, SECOND, Models

RIVALS = Path(__file__).parent / "rivals"
TORCH = "torch==2.13.0"  # an open range would fetch the build for GPUs

Body = Callable[[str], dict[str, Any]]
Found = list[tuple[str, float]]  # words with their probabilities, the likeliest first


class NotInstalled(Exception):
    """A rival that cannot be installed here; the message is the reason."""


@dataclass(frozen=True)
class Contestant:
    """A server under test. `command` may hold {python}, {bin}, {port} and {folder}: its environment, and a scratch."""

    name: str
    says: str
    command: tuple[str, ...]
    route: str
    body: Body
    found: Callable[[Any], Found]
    packages: tuple[str, ...] = ()  # none: in the service's own environment
    model: str = MEDIUM
    data: str = "data"  # the name of its data folder, which one service alone may use
    tolerance: float = 1e-4  # of a probability, relative, between it and who was asked first
    settings: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # JSON files of its scratch folder

    def environment(self, models: Models, port: int) -> dict[str, str]:
        return {
            "MODEL": str(models.rival),
            "PORT": str(port),
            "PYTHONPATH": str(RIVALS if self.packages else ROOT),
            "INKLING_DATA_DIR": str(models.data_dir.with_name(self.data)),
            "INKLING_PORT": str(port),
            "BENTOML_DO_NOT_TRACK": "True",
            **self.settings,
        }


def _predictions(said: Any) -> Found:
    return [(one["word"], one["probability"]) for one in said["predictions"]]


def _of_tensors(said: Any) -> Found:
    words, values = (output["data"] for output in said["outputs"])
    return list(zip(words, values, strict=True))


def ours(model: str, parts: tuple[str, ...] | None = ("lstm",)) -> Body:
    return lambda text: {"text": text, "model": model, **({} if parts is None else {"parts": list(parts)})}


OURS = Contestant(
    "ours",
    "`python -m app serve`, worker included",
    ("{python}", "-m", "app", "serve"),
    "/predict-next-word",
    ours(MEDIUM),
    _predictions,
    # No rival refuses anything, however long it takes; and none has another model in memory than the one it is asked.
    settings={"INKLING_QUEUE_SECONDS": "10", "INKLING_PRELOAD": MEDIUM},
)
INT8 = replace(
    OURS,
    name="int8",
    says="the same with INKLING_INT8=true",
    data=SECOND,
    tolerance=0.05,
    settings={**OURS.settings, "INKLING_INT8": "true"},
)
NOOP = Contestant(
    "noop",
    "FastAPI endpoint that does nothing, pydantic in, a response model out",
    ("{python}", str(RIVALS / "noop.py")),
    "/predict-next-word",
    ours(LECTURE),
    _predictions,
    model=LECTURE,
)
TUTORIAL = Contestant(
    "tutorial",
    "`def` endpoint around the torch module",
    ("{python}", str(RIVALS / "tutorial.py")),
    "/predict",
    lambda text: {"text": text},
    _predictions,
    (TORCH, "numpy", f"fastapi=={version('fastapi')}", f"uvicorn[standard]=={version('uvicorn')}"),
)
LITSERVE = Contestant(
    "litserve",
    "LitServe 0.2.19, batches of up to 32",
    ("{python}", str(RIVALS / "lit.py")),
    "/predict",
    lambda text: {"text": text},
    _predictions,
    (TORCH, "numpy", "litserve==0.2.19"),
)
BENTOML = Contestant(
    "bentoml",
    "BentoML 1.4.40, adaptive batches of up to 32",
    (
        *("{python}", "-m", "bentoml", "serve", "bento:NextWord"),
        *("--host", "127.0.0.1", "--port", "{port}", "--working-dir", str(RIVALS)),
    ),
    "/predict",
    lambda text: {"texts": [text]},
    lambda said: _predictions(said[0]),
    (TORCH, "numpy", "bentoml==1.4.40"),
    settings={"BENTOML_HOME": "{folder}"},
)
MLSERVER = Contestant(
    "mlserver",
    "MLServer 1.7.1, adaptive batches of up to 32",
    ("{bin}/mlserver", "start", "{folder}"),
    "/v2/models/medium/infer",
    lambda text: {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]},
    _of_tensors,
    (TORCH, "numpy", "mlserver==1.7.1"),
    files={
        "model-settings.json": {
            "name": MEDIUM,
            "implementation": "seldon.NextWord",
            "max_batch_size": 32,
            "max_batch_time": 0.005,
        },
        # No pool of processes: it costs two more queues an answer, and does not start beside today's uvloop.
        "settings.json": {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, "metrics_endpoint": None},
    },
)
CONTESTANTS = {each.name: each for each in (OURS, INT8, NOOP, TUTORIAL, LITSERVE, BENTOML, MLSERVER)}


def python_of(contestant: Contestant, folder: Path, install: bool) -> Path:
    """The interpreter of its environment under `folder`, which is made where it is missing. Raises NotInstalled."""
    if not contestant.packages:
        return Path(sys.executable)
    venv, stamp = folder / contestant.name, folder / contestant.name / "installed.json"
    python = venv / "bin" / "python"
    if stamp.exists() and json.loads(stamp.read_text()) == list(contestant.packages):
        return python
    if not install:
        raise NotInstalled("its environment was not made yet, and --quick makes none")
    print(f"making the environment of {contestant.name} …", file=sys.stderr, flush=True)
    for command in (
        [sys.executable, "-m", "venv", str(venv)],
        [str(python), "-m", "pip", "install", "--quiet", *contestant.packages],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise NotInstalled(f"pip could not install it: {said[-1][:300]}")
    stamp.write_text(json.dumps(contestant.packages))
    return python
