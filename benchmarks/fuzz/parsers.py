"""hypothesis on what reads users' files: only the documented errors, no hang, bounded memory.

Each target takes one input and says in a word what became of it. Anything that it raises, a second too many or a
megabyte too many is a failure, which hypothesis makes as small as it can. Exported models are tried in a process of
their own, as the service does it: its end by a signal is contained there, and counted.
"""

import json
import os
import resource
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from app.registry.policy import decide
from benchmarks.fuzz import files
from benchmarks.fuzz.bed import make_versions, unpack_here
from ml import artifact, ingest, latents
from ml import files as volume
from ml.bundle import BundleError
from ml.data import store
from ml.data.intake import Limits, Rejected
from ml.data.store import DatasetError
from ml.serve.density import Density
from ml.serve.text import NextWord, Query
from ml.serve.warm import open_warm

DEADLINE = 30  # seconds for one input, on a machine that does other things too
MODEL_SECONDS = 20  # of processor time; the service allows bundle.MOST_SECONDS
MEMORY = 1024 * 1024**2  # bytes of address space on top of what the process has; a picture may have 50 million pixels
LIMITS = Limits(files=50, unpacked_bytes=3 * 1024**2, skipped=0.8)
QUERIES = (
    Query("", top_k=50),
    Query("you lo", words=8, explain=True),
    Query("you love\0 \u202e", words=3, beams=4, punctuation=True, explain=True),
    Query("zzz i", words=4, temperature=5.0, seed=1, top_p=0.5, sample_top_k=3, context="i like dog"),
)


@contextmanager
def bounded(more: int) -> Iterator[None]:
    """Within the block this process may take `more` bytes of address space than it has now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# -- what is tried -----------------------------------------------------------------------------------------------------


def take_in(sent: Sequence[tuple[str, bytes]]) -> str:
    """Files as POST /datasets gets them, through ml.ingest."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number, (_, data) in enumerate(sent):
            (folder / str(number)).write_bytes(data)
        described = [{"name": name, "path": str(number)} for number, (name, _) in enumerate(sent)]
        volume.write_json(folder / "upload.json", {"files": described, "limits": LIMITS.model_dump()})
        try:
            report = ingest.ingest(folder)
        except DatasetError as error:
            assert not (folder / "dataset").exists(), "what was refused left something behind"
            str(error).encode()  # it is shown
            return getattr(error, "code", "invalid")
        info = store.read_info(folder / "dataset")
        json.dumps(report.model_dump(), ensure_ascii=False).encode()
        if info.modality == "text":
            kept = list(store.read_lines(folder / "dataset"))
            assert len(kept) == report.kept == info.counts["lines"]
            assert all(line == line.strip() and line for line in kept)
            assert max(map(len, kept)) <= 10_000
            json.loads((folder / "dataset" / "preview.json").read_bytes())
        else:
            pixels, _ = store.read_images(folder / "dataset")
            assert len(pixels) == report.kept
            assert max(pixels.shape[1:]) <= 128
        return info.modality


def read_one(data: bytes) -> str:
    """A picture as POST /score and POST /evaluate get it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "0").write_bytes(data)
        volume.write_json(folder / "upload.json", {"files": [{"name": "x", "path": "0"}]})
        try:
            ingest.read_single(folder)
        except Rejected as error:
            return error.code
        pixels = np.load(folder / "picture.npy", allow_pickle=False)
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] in (1, 3)
        assert 1 <= min(pixels.shape[:2]) <= max(pixels.shape[:2]) <= 128
        return "read"


def find_latent(address: str) -> str:
    """The address of a picture, as it stands in URLs."""
    try:
        point = latents.parse(address)
    except ValueError:
        return "refused"
    assert str(latents.parse(str(point))) == str(point)
    assert np.isfinite(point.z(16)).all()
    return "found"


def take_model(data: bytes) -> str:
    """A file as POST /models/import gets it; one that is taken in must then answer, whatever is asked."""
    with tempfile.TemporaryDirectory() as scratch:
        file, folder, said = (Path(scratch) / name for name in ("file", "version", "said"))
        file.write_bytes(data)
        child = os.fork()
        if child == 0:
            code = 1
            signal.alarm(DEADLINE)
            try:
                said.write_text(_try_model(file, folder, len(data)), encoding="utf-8")
                code = 0
            except BaseException:
                said.write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code != -signal.SIGALRM, "it hangs"
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return "took too long, and was ended"
        if code < 0:
            return f"ended by {signal.Signals(-code).name}, apart"
        answer = said.read_text(encoding="utf-8")
        assert code == 0, answer
        return answer


def _try_model(file: Path, folder: Path, size: int) -> str:
    resource.setrlimit(resource.RLIMIT_CPU, (MODEL_SECONDS, MODEL_SECONDS))
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY + 6 * size,) * 2)
    try:
        unpack_here(file, folder, 64 * 1024**2)
    except BundleError as error:
        str(error).encode("utf-8", "replace")
        return error.code
    except MemoryError:
        return "too much memory"
    except OSError:  # the service would take it for a broken volume, and answer 500
        raise
    except Exception as error:  # `ml.bundle.main` has the same last guard, in a process of its own
        return f"last guard: {type(error).__name__}"
    manifest = artifact.verify(folder)  # from here on it is a version of the service's
    json.dumps(manifest.model_dump(mode="json"), allow_nan=False, ensure_ascii=False).encode()
    decide("if_better", manifest, manifest)
    predictor = open_warm(folder, manifest)
    if isinstance(predictor, NextWord):
        for query in QUERIES:
            for answered in (predictor, predictor.knowing(["you love zorblax", "i"])):
                (answer,) = answered.answer([query])
                assert all(np.isfinite(found.probability) for found in answer.predictions)
                for found in answer.predictions:
                    if found.why is not None:
                        list(predictor.sources(found.why))
                json.dumps([found.word for found in answer.predictions], ensure_ascii=False).encode()
    elif isinstance(predictor, Density):
        for number in (0, 7, latents.MAX_SEED):
            assert np.isfinite(predictor.realness(predictor.draw(number))).all()
    else:
        for point in ("0", "7~3@0.2", "7x12~3", "7_12@0.5"):
            for truncation in (0.0, 1.0, 2.0):
                picture = predictor.draw(latents.parse(point), truncation)
                assert np.isfinite(predictor.realness_of_any(picture)[0])
    return "taken in"


# -- how it is tried ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """`share`: of the inputs of a run; what is slow gets fewer."""

    name: str
    inputs: st.SearchStrategy[Any]
    try_one: Callable[[Any], str]
    share: float = 1.0


@dataclass
class Outcome:
    """What became of a target's inputs; `failure` ends with the smallest input that shows it."""

    counts: Counter[str] = field(default_factory=Counter)
    failure: str | None = None


ADDRESSES = st.one_of(st.text(max_size=30), st.text("0123456789~@x_().", max_size=130))


def targets(versions: Path) -> list[Target]:
    """`versions` is a folder in which small versions of every kind are made, once, to be damaged."""
    made = list(make_versions(versions).values())
    name = st.sampled_from(files.NAMES)

    def sent(data: st.SearchStrategy[bytes], names: st.SearchStrategy[str] = name) -> st.SearchStrategy[Any]:
        return st.lists(st.tuples(names, data), min_size=1, max_size=4)

    return [
        Target("texts", sent(files.texts(), st.sampled_from(["a.txt", "b.md"])), take_in),
        Target("pictures", sent(files.pictures(), st.sampled_from(["a.png", "b.jpg"])), take_in),
        Target("ZIPs", sent(st.one_of(files.zips(), files.damaged(files.zips())), st.just("a.zip")), take_in),
        Target("any files", sent(st.one_of(files.texts(), files.pictures(), files.zips())), take_in),
        Target("one picture", files.pictures(), read_one),
        Target("addresses", ADDRESSES, find_latent, 4.0),
        Target("exported models", files.bundles(made), take_model, 0.5),
    ]


def fuzz(target: Target, examples: int, number: int | None = None) -> Outcome:
    """Try `examples` inputs; without a `number` to begin from, the same ones at every run."""
    outcome, tried = Outcome(), None

    @settings(
        max_examples=max(1, int(examples * target.share)),
        deadline=timedelta(seconds=DEADLINE),
        derandomize=number is None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
    )
    @given(target.inputs)
    def one(value: Any) -> None:
        nonlocal tried
        tried = value
        with bounded(MEMORY):
            outcome.counts[target.try_one(value)] += 1

    run = one if number is None else seed(number)(one)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's and zipfile's, about what is given to them
            run()
    except Exception as error:
        error.__notes__ = []  # hypothesis writes inputs down in full
        outcome.failure = f"{''.join(traceback.format_exception(error))}input: {tried!r}"
    return outcome
