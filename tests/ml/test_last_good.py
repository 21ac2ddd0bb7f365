"""However a training goes wrong, it says so in plain words, and its last good checkpoint is there to go on from."""

import errno
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from ml import attempt, checkpoint, files
from ml.families import catalog
from ml.families.base import TrainingError
from ml.run import ExitCode, RunDir
from tests.ml import tiny

BEFORE = 20  # updates that go well
Harm = Callable[[Any], object]  # what happens to the state in the update after those


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """`train` sets handlers for its process, which here is pytest's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def harmed(
    monkeypatch: pytest.MonkeyPatch, sources: dict[str, Path], folder: Path, name: str, harm: Harm
) -> tuple[RunDir, str, str]:
    """A run with a checkpoint after every update, harmed; the code and the words it failed with."""
    family = catalog.load(name)
    update = family.train_step

    def train_step(state: Any, *arguments: Any) -> Any:
        losses = update(state, *arguments)
        if state.step == BEFORE:
            harm(state)
        return losses

    monkeypatch.setattr(family, "train_step", train_step)
    monkeypatch.setattr(catalog, "load", lambda _: family)
    run = tiny.new_run(folder, name, dataset=str(sources[name]), checkpoint_seconds=1e-9, config={"evaluations": 1})
    assert attempt.train(run) == ExitCode.FAILED
    *_, (_, last) = run.events()
    assert last["kind"] == "failed"
    return run, last["code"], last["message"]


def newest(run: RunDir) -> dict[str, Any]:
    """The newest checkpoint, which must be sound."""
    tree: dict[str, Any] = checkpoint.load(sorted(run.checkpoints.glob("step-*.safetensors"))[-1])["state"]
    for module in tree["modules"].values():
        assert all(bool(weights.isfinite().all()) for weights in module.values())
    assert list(run.checkpoints.glob(".*")) == []
    return tree


def ends_well(monkeypatch: pytest.MonkeyPatch, run: RunDir) -> None:
    """The same run, started again once the harm is over."""
    monkeypatch.undo()
    assert attempt.train(run) == ExitCode.DONE
    assert f"Going on from step {BEFORE:,}." in [event["text"] for event in tiny.events(run, "message")]


def spoil_weights(state: Any) -> None:
    with torch.no_grad():
        next(iter(state.modules.values())).get_parameter(
            next(name for name, _ in next(iter(state.modules.values())).named_parameters())
        ).view(-1)[-1] = math.nan


@pytest.mark.parametrize("name", catalog.FAMILIES)
def test_a_weight_that_is_no_number_is_never_saved(
    name: str, sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, code, words = harmed(monkeypatch, sources, tmp_path, name, spoil_weights)
    assert code == "cannot_train"
    assert words == f"weights became infinite at step {BEFORE + 1}: training ran away; try a lower learning_rate"
    assert newest(run)["counters"][2] == BEFORE
    ends_well(monkeypatch, run)


def test_a_learning_rate_far_too_high_is_named(sources: dict[str, Path], tmp_path: Path) -> None:
    config = {"learning_rate": 1.0, "clip": 0, "negatives": 0, "layers": 1, "weight_decay": 1}
    spec = {"dataset": str(sources["lstm"]), "config": config, "checkpoint_seconds": 1e-9}
    run = tiny.new_run(tmp_path, "lstm", **spec)
    trainer = tiny.new_trainer(run, sources["lstm"])
    weights = trainer.state.modules["model"].get_parameter("bias")
    with torch.no_grad():
        weights.fill_(3e38)  # the next update adds to it
        weights[0] = math.inf
    with pytest.raises(TrainingError, match="try a lower learning_rate"):
        trainer.fit()
    assert not run.checkpoints.exists() or list(run.checkpoints.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no more"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_is_said_with_advice(
    error: Exception, sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def harm(_: Any) -> None:
        raise error

    run, code, words = harmed(monkeypatch, sources, tmp_path, "lstm", harm)
    assert code == "out_of_memory"
    assert words == f"out of memory: {error}; try a smaller batch_size or model"
    assert newest(run)["counters"][2] == BEFORE
    ends_well(monkeypatch, run)


def test_an_allocation_that_the_system_refuses_is_out_of_memory(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def harm(_: Any) -> None:
        with tiny.limited("RLIMIT_AS", 2**28):
            torch.zeros(2**28)  # 1 GiB

    run, code, _ = harmed(monkeypatch, sources, tmp_path, "gan", harm)
    assert code == "out_of_memory"
    assert newest(run)["counters"][2] == BEFORE


def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def harm(_: Any) -> None:  # from here on a checkpoint has no room, and the event log still has
        while not (tmp_path / "checkpoints" / f"step-{BEFORE:012d}.safetensors").exists():
            time.sleep(0.001)  # it is written beside this update
        limit = tiny.limited("RLIMIT_FSIZE", 30_000)
        limit.__enter__()
        limits.append(limit)

    try:
        run, code, words = harmed(monkeypatch, sources, tmp_path, "lstm", harm)
    finally:
        for limit in limits:
            limit.__exit__(None, None, None)
    assert code == "volume"
    assert words.startswith("no room is left for the run's files: ")
    assert words.endswith("free some space and start it again, it goes on from its last checkpoint")
    assert newest(run)["counters"][2] == BEFORE
    ends_well(monkeypatch, run)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no room is left"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "no room is left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no room is left"),
        (OSError(errno.EROFS, "Read-only file system"), "the run's folder cannot be used: "),
        (SafetensorError("HeaderTooLarge"), "the run's folder cannot be used: "),
    ],
)
def test_the_volumes_troubles_are_told_apart(
    error: Exception, words: str, sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise error

    run, code, said = harmed(
        monkeypatch, sources, tmp_path, "lstm", lambda _: monkeypatch.setattr(checkpoint, "write", full)
    )
    assert code == "volume"
    assert said.startswith(words)
    assert str(error) in said
    assert newest(run)["counters"][2] == BEFORE
    ends_well(monkeypatch, run)


def test_what_killed_attempts_left_unfinished_is_removed(sources: dict[str, Path], tmp_path: Path) -> None:
    run = tiny.new_run(tmp_path, "lstm", dataset=str(sources["lstm"]), budget={"steps": 2})
    half = [tmp_path / ".prepared.0badcafe" / "train.npy", run.checkpoints / ".step-000000000001.0badcafe.safetensors"]
    half.append(run.checkpoints / ".tmpzazCzp")  # as safetensors calls what it writes
    for path in half:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    (tmp_path / ".hidden").touch()
    assert attempt.train(run) == ExitCode.DONE
    assert [path.name for path in tmp_path.rglob(".*")] == [".hidden"]


def test_only_temporary_names_are_unfinished(tmp_path: Path) -> None:
    kept = [".gitkeep", ".a.0badcaf", ".a.0badcafeX.txt", "a.0badcafe.txt", ".a.0badcafe.tar.gz", ".tmpa", ".tmp-mine"]
    for name in [*kept, ".a.0badcafe", ".a.b.0badcafe.npy", ".tmpzazCzp"]:
        (tmp_path / name).touch()
    files.remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
    files.remove_unfinished(tmp_path / "nowhere")
