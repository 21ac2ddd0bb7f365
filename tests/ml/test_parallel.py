"""Several processes share the updates of one run: the same run as one process makes, and its end when one is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ml import artifact, checkpoint, parallel, ranks
from ml.run import ExitCode, RunDir
from tests.ml import tiny

DEADLINE = 240
ENDLESS = {"steps": 1_000_000}
# Everything that draws random numbers, and batches that two processes cannot share evenly.
CONFIGS: dict[str, dict[str, Any]] = {
    "lstm": {"layers": 1, "batch_size": 7, "word_noise": 0.1, "dropout": 0.2, "dropout_hidden": 0.2, "forget": 0.3},
    "lstm-by-line": {"layers": 1, "by_line": True, "batch_size": 7, "evaluations": 1},
    "gan": {"batch_size": 15, "augment": 0.3, "objective": "relativistic", "penalty_every": 2},
}


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "RANK"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def training(run: RunDir) -> Iterator[subprocess.Popen[bytes]]:
    """The run, trained by two processes, which are killed at the end."""
    command = [sys.executable, "-m", "ml.train", str(run.path), "--processes", "2"]
    with run.log_file.open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.kill()


def train(run: RunDir) -> ExitCode:
    with training(run) as process:
        return ExitCode(process.wait(DEADLINE))


def ranks_of(run: RunDir) -> dict[int, int]:
    """The processes that train this run: number -> process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        rank = next((int(line[5:]) for line in environment if line.startswith(b"RANK=")), None)
        if rank is not None and state != "Z" and b"ml.train" in command and str(run.path).encode() in command:
            found[rank] = int(entry.name)
    return found


def until(what: str, check: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def saved(run: RunDir) -> int:
    return max((event["step"] for event in tiny.events(run, "checkpoint")), default=-1)


def losses(run: RunDir) -> list[dict[str, float]]:
    """What was learned on, and how well, at every evaluation."""
    return [{k: v for k, v in point.items() if k not in ("kind", "time")} for point in tiny.events(run, "metrics")]


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_train_as_one_does(name: str, sources: dict[str, Path], tmp_path: Path) -> None:
    family = name.partition("-")[0]
    spec = {"dataset": str(sources[family]), "budget": {"steps": 12}, "config": CONFIGS[name], "seed": 3}
    one, two = (tiny.new_run(tmp_path / part, family, **spec) for part in ("one", "two"))
    alone = tiny.finish(one, sources[family])
    assert train(two) == ExitCode.DONE, two.log_file.read_text()

    assert len(losses(one)) == len(losses(two)) > 0
    for mine, theirs in zip(losses(one), losses(two), strict=True):
        assert theirs == pytest.approx(mine, rel=1e-3, abs=1e-4)
    manifest = artifact.verify(two.artifact)
    assert (manifest.steps, manifest.epochs) == (alone.manifest.steps, alone.manifest.epochs)
    weights, others = (load_file(run.artifact / "weights.safetensors") for run in (one, two))
    for key, tensor in weights.items():
        torch.testing.assert_close(others[key], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_attempt_and_one_alone_goes_on(
    rank: int, sources: dict[str, Path], tmp_path: Path
) -> None:
    spec = {"dataset": str(sources["lstm"]), "budget": ENDLESS, "checkpoint_seconds": 0.05}
    run = tiny.new_run(tmp_path, "lstm", **spec, config={"patience": 0})
    with training(run) as process:
        until("a checkpoint was written", lambda: saved(run) > 0)
        os.kill(ranks_of(run)[rank], signal.SIGKILL)
        assert process.wait(60) == ExitCode.FAILED
    said = [event["message"] for event in tiny.events(run, "failed")] if rank else [run.log_file.read_text()]
    assert "another process of this training ended" in said[-1]
    until("no process is left", lambda: not ranks_of(run))

    tiny.new_run(tmp_path, "lstm", **spec | {"budget": {"steps": saved(run) + 100}}, config={"patience": 0})
    trainer = tiny.new_trainer(run, sources["lstm"])
    start = trainer.state.step
    assert start >= saved(run), "killed between a checkpoint and its event, it is one checkpoint further"
    trainer.fit()
    assert trainer.state.step > start
    assert artifact.verify(run.artifact).steps == trainer.state.step


def test_it_is_stopped_goes_on_and_is_cancelled_and_leaves_nothing(sources: dict[str, Path], tmp_path: Path) -> None:
    run = tiny.new_run(tmp_path, "gan", dataset=str(sources["gan"]), budget=ENDLESS, checkpoint_seconds=60)
    with training(run) as process:
        until("it trains", lambda: tiny.events(run, "progress"))
        process.terminate()
        assert process.wait(60) == ExitCode.INTERRUPTED, run.log_file.read_text()
    step = saved(run)
    assert step > 0

    with training(run) as process:
        until("it goes on", lambda: tiny.events(run, "progress")[-1]["step"] > step)
        assert tiny.events(run, "message")[-1]["text"] == f"Going on from step {step:,}."
        run.stop_file.touch()
        assert process.wait(60) == ExitCode.CANCELLED, run.log_file.read_text()
    run.stop_file.unlink()

    with training(run):
        until("it goes on", lambda: len(ranks_of(run)) == 2)
    until("none outlives the process that started them", lambda: not ranks_of(run))


def test_what_cannot_be_shared_is_trained_by_one(sources: dict[str, Path], tmp_path: Path) -> None:
    run = tiny.new_run(tmp_path, "gan-number", dataset=str(sources["gan-number"]), budget={"steps": 8})
    assert train(run) == ExitCode.DONE, run.log_file.read_text()
    assert "trains in one process" in tiny.events(run, "message")[0]["text"]
    assert artifact.verify(run.artifact).steps == 8


def test_a_run_that_cannot_be_trained_says_why_once(tmp_path: Path) -> None:
    run = tiny.new_run(tmp_path, "lstm", dataset=str(tmp_path / "nothing"))
    assert train(run) == ExitCode.FAILED
    assert [event["code"] for event in tiny.events(run, "failed")] == ["cannot_train"]


# -- the parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "visible", "count"), [(3, "0", 3), (0, "0,1", 2), (0, "-1", 1), (0, "", 1)])
def test_how_many(wanted: int, visible: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert ranks.how_many(wanted) == count


def test_without_a_word_on_cards_those_of_the_machine_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/nvidia0"), Path("/dev/nvidia1")]))
    assert ranks.how_many(0) == 2


def test_a_state_as_bytes_is_the_state() -> None:
    tree = {"a": [torch.arange(3), {1: None, 2: "x"}], "b": torch.tensor(1.5)}
    assert tiny.differences(checkpoint.loads(checkpoint.dumps(tree)), tree) == []


@pytest.mark.parametrize(("rows", "count"), [(7, 3), (8, 2), (2, 2), (1, 2)])
def test_the_rows_of_all_are_the_batch(rows: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.rand(rows, 2)
    total, mean = torch.zeros(rows, 2), 0.0
    for rank in range(count):
        monkeypatch.setattr(parallel, "_ranks", parallel._Ranks(rank, count))
        own = parallel.mine(whole)
        total += parallel.whole(own, 0)
        mean += float(own.mean()) * parallel.weight(own.numel(), whole.numel())
        torch.manual_seed(1)
        drawn = parallel.each(lambda n: torch.rand(n, 2), len(own))
        torch.manual_seed(1)
        assert torch.equal(drawn, parallel.mine(torch.rand(rows, 2)))
    assert torch.equal(total, whole)
    assert mean == pytest.approx(float(whole.mean()))


def test_own_random_numbers_leave_the_common_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, after = [], []
    for rank in range(2):
        monkeypatch.setattr(parallel, "_ranks", parallel._Ranks(rank, 2))
        torch.manual_seed(1)
        with parallel.own_random(torch.device("cpu")):
            drawn.append(torch.rand(2 + rank).tolist())
        after.append(torch.rand(2).tolist())
    assert drawn[0] != drawn[1][:2]
    assert after[0] == after[1]
