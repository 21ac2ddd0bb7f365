"""A trainer killed at random moments, again and again, makes the version that an undisturbed one makes."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ml import artifact
from ml.families.catalog import FAMILIES
from ml.run import ExitCode, RunDir
from tests.ml import tiny

DEADLINE = 240  # for all attempts; most of each is the import of torch
STEPS = {"lstm": 500, "gan": 300}  # long enough to be killed in; the tiny models take 1 to 3 ms an update


def saved(run: RunDir) -> int:
    """The step of the newest checkpoint, as the event log says; -1 before the first."""
    return max((event["step"] for event in tiny.events(run, "checkpoint")), default=-1)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_killed_run_ends_bit_for_bit_like_an_undisturbed_one(
    name: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    spec = {"dataset": str(sources[name]), "budget": {"steps": STEPS[name]}, "config": {"patience": 0}}
    whole = tiny.finish(tiny.new_run(tmp_path / "whole", name, **spec), sources[name])

    run = tiny.new_run(tmp_path / "killed", name, **spec, checkpoint_seconds=0.01)
    chance = random.Random(name)  # the steps are the same every time; the moments within them never are
    targets = [-1, *sorted(chance.sample(range(STEPS[name] // 2), 3)), STEPS[name]]  # the last: while it publishes
    deadline = time.monotonic() + DEADLINE
    for target in targets:
        process = subprocess.Popen([sys.executable, "-m", "ml.train", str(run.path)])
        try:
            while not run.events_file.exists() or saved(run) < target:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(random.uniform(0, 0.05))
        finally:
            process.kill()
        ended = process.wait(DEADLINE)
        assert ended == -signal.SIGKILL or target == STEPS[name]  # publishing takes a moment: it may be over
    code = subprocess.run([sys.executable, "-m", "ml.train", str(run.path)], timeout=DEADLINE).returncode
    assert code == ExitCode.DONE

    manifest = artifact.verify(run.artifact)
    one, other = ((folder / "weights.safetensors").read_bytes() for folder in (whole.run.artifact, run.artifact))
    assert one == other
    assert (manifest.metrics, manifest.steps) == (whole.manifest.metrics, STEPS[name])
    assert [path.name for path in run.path.rglob(".*")] == []  # no half of anything is left
