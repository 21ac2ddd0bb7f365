"""The loop: when it evaluates, saves and stops, and how it goes on."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ml import artifact, checkpoint
from ml.families.base import State, TrainingError
from ml.run import RunDir
from ml.trainer import BEST, KEPT_CHECKPOINTS, Cancelled, Interrupted, Trainer, pick_device
from tests.ml import tiny
from tests.ml.tiny import Finished, differences

Finish = Callable[[str], Finished]

# Weights that do not move: every evaluation is the same.
STILL = {"learning_rate": 1e-30, "weight_decay": 0.0}


@pytest.fixture
def source(sources: dict[str, Path]) -> Path:
    return sources["lstm"]


def lstm(folder: Path, source: Path, **spec: Any) -> Trainer:
    return tiny.new_trainer(tiny.new_run(folder, "lstm", **spec), source)


def without_export(trainer: Trainer) -> Trainer:
    """For tests of the loop alone: the version gets no weights and no ONNX, which take most of a second."""
    trainer.family.export = lambda *_: {}  # type: ignore[method-assign]
    return trainer


def steps(run: RunDir) -> list[int]:
    return [int(path.stem.removeprefix("step-")) for path in sorted(run.checkpoints.glob("step-*.safetensors"))]


def messages(run: RunDir) -> list[str]:
    return [event["text"] for event in tiny.events(run, "message")]


# -- where it runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_cuda_is_used_when_it_is_there(there: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert pick_device().type == device


# -- what it tells ---------------------------------------------------------------------------------------------------


def test_a_run_tells_its_way_from_preparing_to_done(finished: Finish) -> None:
    run = finished("lstm").run
    told = [event for _, event in run.events()]
    assert [event["status"] for event in told if event["kind"] == "status"] == ["preparing", "running"]
    assert told[0]["device"] == "cpu"
    assert told[0]["config"] == finished("lstm").manifest.config
    assert told[-1]["kind"] == "done"
    assert told[-1]["metrics"] == finished("lstm").manifest.metrics
    assert {event["kind"] for event in told} == {"status", "metrics", "sample", "progress", "checkpoint", "done"}


def test_evaluations_are_spread_evenly_over_the_budget(finished: Finish) -> None:
    points = tiny.events(finished("lstm").run, "metrics")
    assert [point["step"] for point in points] == [24, 48, 72, 96]
    per_epoch = finished("lstm").trainer.steps_per_epoch
    assert [point["epoch"] for point in points] == [round(step / per_epoch, 3) for step in (24, 48, 72, 96)]


@pytest.mark.parametrize(
    ("budget", "spent", "ago", "due"),
    [
        ({"minutes": 1}, 20.0, 20.0, False),  # an evaluation of one second wants 24 of training before it
        ({"minutes": 1}, 30.0, 25.0, True),
        ({"minutes": 1}, 50.0, 30.0, False),  # the one at the end of the budget is near
        ({"minutes": 1}, 60.0, 5.0, True),  # that one itself
        ({"minutes": 60, "steps": 40}, 50.0, 1.0, True),  # the steps end it: the same moments on every machine
        ({"steps": 40}, 50.0, 1.0, True),
    ],
)
def test_by_the_clock_evaluations_leave_most_of_the_time_to_training(
    tmp_path: Path, source: Path, budget: dict[str, float], spent: float, ago: float, due: bool
) -> None:
    trainer = lstm(tmp_path, source, budget=budget)
    trainer.state.step = 20
    trainer.clock.seconds, trainer.evaluated, trainer.evaluation = spent, 1000.0 - ago, 1.0
    trainer.state.progress = trainer._progress()
    assert trainer._may_evaluate(now=1000.0) == due


def test_more_evaluations_than_updates_are_one_an_update(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source, budget={"steps": 3}, config={"evaluations": 1000, "patience": 0})
    without_export(trainer).fit()
    assert [point["step"] for point in tiny.events(trainer.run, "metrics")] == [1, 2, 3]


def test_the_loss_on_both_parts_stands_side_by_side(finished: Finish) -> None:
    for point in tiny.events(finished("lstm").run, "metrics"):
        assert {"loss", "train_loss", "perplexity", "word_perplexity", "top1", "top3", "top5"} <= point.keys()
        assert point["perplexity"] == pytest.approx(math.exp(point["loss"]))


def test_progress_ends_at_1_with_only_the_publishing_to_wait_for(finished: Finish) -> None:
    points = tiny.events(finished("lstm").run, "progress")
    shares = [point["progress"] for point in points]
    assert shares == sorted(shares)
    assert points[-1].items() >= {"progress": 1.0, "step": 96, "total_steps": 96}.items()
    assert points[-1]["eta_seconds"] == round(finished("lstm").trainer.finishing, 1) > 0
    assert math.isfinite(points[-1]["loss"])


def test_a_figure_that_json_cannot_say_is_null(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source, budget={"steps": 1}, config=STILL | {"negatives": 0, "layers": 1})
    with torch.no_grad():
        trainer.state.modules["model"].bias[0] = 1e4  # type: ignore[index, operator]
    manifest = without_export(trainer).fit()
    assert manifest.metrics["lstm_loss"] > 60
    assert manifest.metrics["perplexity"] is not None  # the n-gram answers beside it
    assert tiny.events(trainer.run, "metrics")[0]["perplexity"] is None
    assert artifact.verify(trainer.run.artifact).metrics == manifest.metrics
    json.loads((trainer.run.artifact / "manifest.json").read_text(), parse_constant=pytest.fail)


# -- how long --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [{"steps": 7}, {"steps": 7, "epochs": 100, "minutes": 60}])
def test_the_first_limit_reached_ends_the_run(tmp_path: Path, source: Path, budget: dict[str, int]) -> None:
    assert without_export(lstm(tmp_path, source, budget=budget)).fit().steps == 7


def test_epochs_are_whole_passes(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source, budget={"epochs": 2})
    manifest = without_export(trainer).fit()
    assert manifest.steps == 2 * trainer.steps_per_epoch
    assert manifest.epochs == 2
    assert (trainer.state.epoch, trainer.state.batch) == (2, 0)


def test_minutes_are_those_of_all_attempts_and_end_the_run_about_then(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source, budget={"minutes": 0.1}, config={"patience": 0})
    trainer.clock.seconds = 5.0  # of an attempt before this one
    manifest = without_export(trainer).fit()
    assert 6 <= manifest.seconds < 60
    assert manifest.steps > 10
    assert trainer.state.progress == 1.0


def test_no_better_for_long_enough_stops_early_and_publishes_the_best(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source, budget={"steps": 20}, config=STILL | {"evaluations": 10, "patience": 2})
    manifest = trainer.fit()
    assert manifest.steps == 6  # the best at 2, then no better at 4 and 6
    assert "Stopped early: no better for 2 evaluations." in messages(trainer.run)
    assert artifact.verify(trainer.run.artifact) == manifest


def test_without_patience_it_goes_to_the_end(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source, budget={"steps": 20}, config=STILL | {"evaluations": 10, "patience": 0})
    assert without_export(trainer).fit().steps == 20
    assert messages(trainer.run) == []


def test_the_version_is_the_best_of_the_run_not_its_last(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source, budget={"steps": 40}, config={"evaluations": 4, "patience": 0})

    def spoil(trainer: Trainer) -> None:
        with torch.no_grad():
            for p in trainer.state.modules["model"].parameters():
                p.add_(torch.randn_like(p))

    tiny.after_step(trainer, 31, spoil)
    manifest = trainer.fit()
    scores = [point["perplexity"] for point in tiny.events(trainer.run, "metrics")]
    assert scores[3] > 2 * min(scores)
    best = checkpoint.load(trainer.run.checkpoints / BEST)["model"]
    assert differences(load_file(trainer.run.artifact / "weights.safetensors"), best) == []
    assert manifest.metrics["perplexity"] < 2 * min(scores)


@pytest.mark.parametrize(("scores", "kept"), [([5, 4, 4.4, 6], 3), ([5, 4, 4.6, 6], 2), ([5, 4, 4.4, 4.5], 4)])
def test_what_is_worse_by_chance_alone_is_kept_as_the_later_one(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], kept: int
) -> None:
    trainer, told = lstm(tmp_path, source, budget={"steps": 40}, config={"evaluations": 4, "patience": 0}), iter(scores)
    weights: list[dict[str, torch.Tensor]] = []

    def evaluate(state: State, config: Any, data: Any, split: str) -> dict[str, float]:
        weights.append({name: value.clone() for name, value in state.modules["model"].state_dict().items()})
        return {"perplexity": next(told, 1.0), "loss": 1.0}

    monkeypatch.setattr(trainer.family, "evaluate", evaluate)
    monkeypatch.setattr(trainer.family, "chance", lambda data: 0.5)
    without_export(trainer).fit()
    assert differences(weights[kept - 1], checkpoint.load(trainer.run.checkpoints / BEST)["model"]) == []
    assert trainer.clock.best_score == min(scores)  # they do not creep away from the best


def test_a_text_too_short_to_hold_out_is_measured_on_itself(lecture_run: Finished) -> None:
    assert not (lecture_run.run.checkpoints / BEST).exists()
    assert lecture_run.manifest.metrics["split"] == "train"
    assert lecture_run.manifest.score.held_out.startswith(f"train of {lecture_run.trainer.info.sha256}")


# -- stopping and going on -------------------------------------------------------------------------------------------


def test_a_stop_file_cancels_and_publishes_nothing(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source)
    tiny.after_step(trainer, 5, lambda trainer: trainer.run.stop_file.touch())
    with pytest.raises(Cancelled):
        trainer.fit()
    assert trainer.state.step == 5
    assert not trainer.run.artifact.exists()


def test_a_stop_file_that_is_there_already_cancels_before_the_first_update(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source)
    trainer.run.stop_file.touch()
    with pytest.raises(Cancelled):
        trainer.fit()
    assert trainer.state.step == 0


def test_an_interruption_leaves_a_checkpoint_of_that_very_update(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source)
    tiny.after_step(trainer, 5, tiny.interrupt)
    with pytest.raises(Interrupted):
        trainer.fit()
    assert steps(trainer.run)[-1] == 5
    again = tiny.new_trainer(trainer.run, source)
    assert (again.state.step, again.clock.seconds) == (5, trainer.clock.seconds)
    assert messages(trainer.run) == ["Going on from step 5."]
    assert not trainer.run.artifact.exists()


def test_checkpoints_come_by_the_clock_and_the_newest_two_are_kept(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path / "often", source, budget={"steps": 6}, checkpoint_seconds=1e-9)
    seen: list[list[int]] = []

    def look(trainer: Trainer) -> None:
        trainer._saved(wait=True)  # it may still be written beside this update
        seen.append(steps(trainer.run))

    for step in range(1, 7):
        tiny.after_step(trainer, step, look)
    without_export(trainer).fit()
    assert seen == [[0], [0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]
    assert len(steps(trainer.run)) == KEPT_CHECKPOINTS
    seldom = lstm(tmp_path / "seldom", source, budget={"steps": 6}, checkpoint_seconds=1e9)
    without_export(seldom).fit()
    assert steps(seldom.run) == [0, 6]


@pytest.fixture
def stopped(tmp_path: Path, source: Path) -> RunDir:
    """A run interrupted after 40 of its updates, with the checkpoints of 39 and 40."""
    trainer = lstm(tmp_path / "stopped", source, checkpoint_seconds=1e-9)
    tiny.after_step(trainer, 40, tiny.interrupt)
    with pytest.raises(Interrupted):
        trainer.fit()
    assert steps(trainer.run) == [39, 40]
    return trainer.run


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scribble(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [truncate, empty, scribble])
def test_a_damaged_checkpoint_is_said_and_the_one_before_goes_on(
    stopped: RunDir, source: Path, damage: Callable[[Path], None]
) -> None:
    damage(stopped.checkpoints / "step-000000000040.safetensors")
    trainer = tiny.new_trainer(stopped, source)
    assert trainer.state.step == 39
    first, second = messages(stopped)
    assert first.startswith("Checkpoint step-000000000040.safetensors cannot be read")
    assert second == "Going on from step 39."


def test_after_a_damaged_checkpoint_the_end_is_the_same(stopped: RunDir, source: Path, finished: Finish) -> None:
    truncate(stopped.checkpoints / "step-000000000040.safetensors")
    manifest = tiny.finish(stopped, source).manifest
    whole = finished("lstm").manifest
    assert manifest.files["weights.safetensors"] == whole.files["weights.safetensors"]
    assert manifest.metrics == whole.metrics


def test_when_no_checkpoint_can_be_read_it_begins_again(stopped: RunDir, source: Path, finished: Finish) -> None:
    for path in stopped.checkpoints.glob("step-*.safetensors"):
        truncate(path)
    trainer = tiny.new_trainer(stopped, source)
    assert trainer.state.step == 0
    assert len(messages(stopped)) == 2
    fresh = lstm(stopped.path.parent / "fresh", source)
    assert differences(trainer.state.tree(), fresh.state.tree()) == []


def test_what_a_kill_left_half_written_is_not_looked_at(stopped: RunDir, source: Path) -> None:
    (stopped.checkpoints / ".step-000000000099.0badcafe.safetensors").write_bytes(b"half")
    assert tiny.new_trainer(stopped, source).state.step == 40
    assert messages(stopped) == ["Going on from step 40."]


def test_data_is_prepared_once(stopped: RunDir, source: Path) -> None:
    before = stopped.prepared.stat().st_ino
    tiny.new_trainer(stopped, source)
    assert stopped.prepared.stat().st_ino == before


def test_a_finished_run_called_again_publishes_the_same(tmp_path: Path, source: Path) -> None:
    run = tiny.new_run(tmp_path, "lstm", budget={"steps": 5})
    first, second = tiny.finish(run, source).manifest, tiny.finish(run, source).manifest
    assert second.steps == 5
    assert second.metrics == first.metrics
    assert second.files["weights.safetensors"] == first.files["weights.safetensors"]


# -- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "other", "words"),
    [
        ("lstm", "gan", "'lstm' learns from texts, .* holds images"),
        ("gan", "lstm", "'gan' learns from images or numbers, .* texts"),
    ],
)
def test_the_wrong_kind_of_data_is_refused(
    family: str, other: str, words: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=words):
        tiny.new_trainer(tiny.new_run(tmp_path, family), sources[other])


def test_a_text_too_large_for_the_lecture_is_refused_with_advice_and_leaves_no_data(tmp_path: Path) -> None:
    large = tiny.write_text(tmp_path / "set", ["a b c d"] * 5_001)
    run = tiny.new_run(tmp_path / "run", "lstm", preset="lecture")
    with pytest.raises(TrainingError, match="use the preset 'auto'"):
        tiny.new_trainer(run, large)
    assert not run.prepared.exists()


def test_too_few_pictures_are_refused_and_leave_no_data(tmp_path: Path) -> None:
    few = tiny.write_images(tmp_path / "set", tiny.discs(49))
    run = tiny.new_run(tmp_path / "run", "gan")
    with pytest.raises(TrainingError, match="give it at least 50"):
        tiny.new_trainer(run, few)
    assert not run.prepared.exists()


def test_data_without_a_single_batch_is_refused(tmp_path: Path, source: Path) -> None:
    trainer = lstm(tmp_path, source)
    trainer.family.batches = lambda *_: iter(())  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="too little data"):
        trainer.fit()


# -- running away ----------------------------------------------------------------------------------------------------


def poison(trainer: Trainer) -> None:
    """What an overflow in a gradient does to the weights."""
    with torch.no_grad():
        for module in trainer.state.modules.values():
            for p in module.parameters():
                p.fill_(math.nan)


@pytest.mark.parametrize("family", ["lstm", "gan"])
def test_a_loss_that_is_no_number_is_said_in_plain_words(family: str, sources: dict[str, Path], tmp_path: Path) -> None:
    trainer = tiny.new_trainer(tiny.new_run(tmp_path, family), sources[family])
    tiny.after_step(trainer, 3, poison)
    with pytest.raises(TrainingError, match=r"loss\w* became nan at step \d+: .*try a lower learning_rate"):
        trainer.fit()
    assert not trainer.run.artifact.exists()
    assert tiny.events(trainer.run, "metrics") == []


@pytest.mark.parametrize(("family", "preset"), [("lstm", "lecture"), ("lstm", "auto"), ("gan", "auto")])
def test_weights_that_became_no_number_in_the_last_update_are_not_published(
    family: str, preset: str, lecture: Path, sources: dict[str, Path], tmp_path: Path
) -> None:
    # No best checkpoint to fall back on: the lecture's text has no held-out part, and the GAN is evaluated once.
    data = lecture if family == "lstm" else sources["gan"]
    run = tiny.new_run(tmp_path, family, preset=preset, budget={"steps": 4}, config={"evaluations": 1})
    trainer = tiny.new_trainer(run, data)
    tiny.after_step(trainer, 4, poison)
    with pytest.raises(TrainingError, match="learning_rate"):
        trainer.fit()
    assert not trainer.run.artifact.exists()
