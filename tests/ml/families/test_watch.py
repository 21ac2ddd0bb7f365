"""What the GAN's watch takes for trouble, and what the loop does about it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ml import checkpoint
from ml.families.base import RanAway, State, Trouble
from ml.families.gan import watch
from ml.trainer import BEST, GOOD, Interrupted, Trainer
from tests.ml import tiny
from tests.ml.tiny import differences

WELL = {"frechet_distance": 0.5, "coverage": 0.6, "recall": 0.5, "spread": 0.9, "d_real": 0.6, "d_fake": 0.4}
FLAT = {"spread": 0.01}
LOST = {"coverage": 0.02, "recall": 0.01}
AHEAD = {"d_real": 0.99, "d_fake": 0.01}


def judged(*changes: dict[str, float]) -> list[Trouble | None]:
    state = State({}, {}, torch.device("cpu"))
    return [watch.diagnose(state, WELL | change) for change in changes]


def sure(*changes: dict[str, float]) -> list[bool | None]:
    return [None if trouble is None else trouble.sure for trouble in judged(*changes)]


# -- what is trouble -------------------------------------------------------------------------------------------------


def test_a_run_that_gets_better_is_left_alone() -> None:
    assert judged({}, {"frechet_distance": 0.3}, {"frechet_distance": 0.4}) == [None, None, None]


@pytest.mark.parametrize("sick", [FLAT, LOST])
def test_a_collapse_is_sure_the_second_time(sick: dict[str, float]) -> None:
    assert sure({}, sick, sick) == [None, False, True]
    assert sure({}, sick, {}, sick) == [None, False, None, False]


def test_a_collapse_is_said_with_its_figures() -> None:
    *_, trouble = judged({}, FLAT | LOST, FLAT | LOST)
    assert trouble is not None
    assert trouble.text == (
        "the generator has collapsed to a few pictures: coverage 0.02, recall 0.01, and 1% of the real pictures' spread"
    )


def test_pictures_that_were_never_good_have_not_collapsed() -> None:
    assert sure(LOST, LOST, LOST) == [None, None, None]


def test_a_discriminator_far_ahead_is_trouble_when_the_pictures_stop_getting_better() -> None:
    assert sure({}, AHEAD, AHEAD, AHEAD) == [None, False, False, True]
    better = [AHEAD | {"frechet_distance": 0.5 - 0.1 * i} for i in range(4)]
    assert sure({}, *better) == [None, False, None, None, None]
    *_, trouble = judged({}, AHEAD, AHEAD, AHEAD)
    assert trouble is not None
    assert "D(x) 0.99 and D(G(z)) 0.01" in trouble.text


def test_what_was_counted_is_in_the_state() -> None:
    whole, first = State({}, {}, torch.device("cpu")), State({}, {}, torch.device("cpu"))
    for change in ({}, AHEAD):
        watch.diagnose(whole, WELL | change)
        watch.diagnose(first, WELL | change)
    second = State({}, {}, torch.device("cpu"))
    second.load_tree(first.tree())
    for state in (whole, second):
        watch.diagnose(state, WELL | AHEAD)
    assert differences(whole.extra, second.extra) == []


# -- what is done ----------------------------------------------------------------------------------------------------


def spoil(trainer: Trainer) -> None:
    """What an overflow does: the weights are no numbers."""
    with torch.no_grad():
        for p in trainer.state.modules["generator"].parameters():
            p.fill_(math.nan)


def new(folder: Path, source: Path, **spec: Any) -> Trainer:
    trainer = tiny.new_trainer(tiny.new_run(folder, "gan", **{"budget": {"steps": 32}, **spec}), source)
    trainer.family.export = lambda *_: {}  # type: ignore[method-assign]
    return trainer


def once_at(trainer: Trainer, step: int, times: int = 1) -> list[int]:
    """Spoil the weights at the end of the update that makes `step`, the first `times` times it is done."""
    done: list[int] = []

    def harm(trainer: Trainer) -> None:
        if trainer.clock.rescues < times:
            done.append(step)
            spoil(trainer)

    tiny.after_step(trainer, step, harm)
    return done


def messages(trainer: Trainer) -> list[str]:
    return [event["text"] for event in tiny.events(trainer.run, "message")]


@pytest.fixture
def source(sources: dict[str, Path]) -> Path:
    return sources["gan"]


def test_a_run_away_goes_on_from_its_last_good_state_at_half_the_rate(source: Path, tmp_path: Path) -> None:
    trainer = new(tmp_path, source)
    once_at(trainer, 20)
    assert trainer.fit().steps == 32
    assert (trainer.clock.rescues, trainer.state.rate) == (1, 0.5)
    (text,) = messages(trainer)
    assert text.endswith("going back to step 16 and on at half the rate (1 of 3 times).")  # evaluated at 8 and 16
    assert [point["evaluation"] for point in tiny.events(trainer.run, "metrics")] == [1, 2, 3, 4]


def test_before_the_first_evaluation_it_begins_again(source: Path, tmp_path: Path) -> None:
    trainer = new(tmp_path, source)
    once_at(trainer, 3, times=2)
    assert trainer.fit().steps == 32
    assert trainer.state.rate == 0.25
    assert ["going back to step 0" in text for text in messages(trainer)] == [True, True]


def test_the_lower_rate_is_the_one_that_is_learned_at(source: Path, tmp_path: Path) -> None:
    trainer = new(tmp_path, source)
    trainer.state.rate, trainer.state.progress = 0.25, 0.3
    batch = next(iter(trainer.family.batches(trainer.data, trainer.config, 0, 0, 0)))
    trainer.family.train_step(trainer.state, trainer.config, trainer.data, batch)
    rates = {group["lr"] for o in trainer.state.optimizers.values() for group in o.param_groups}
    assert rates == {0.25 * trainer.config.learning_rate}


def test_after_three_tries_the_best_version_is_kept(source: Path, tmp_path: Path) -> None:
    trainer = new(tmp_path, source)
    once_at(trainer, 20, times=99)
    manifest = trainer.fit()
    assert manifest.steps == 16
    assert trainer.clock.over
    assert len(messages(trainer)) == 4
    assert messages(trainer)[-1].endswith(
        "that was the end of 3 tries at lower rates; the best version so far is kept."
    )
    best = checkpoint.load(trainer.run.checkpoints / BEST)
    assert differences(trainer.state.modules["average"].state_dict(), best["average"]) == []
    again = new(tmp_path, source)  # ended before it had published
    assert again.fit().metrics == manifest.metrics
    assert len(messages(trainer)) == 5  # "Going on from …"


def test_without_a_version_to_keep_it_fails_with_the_reason(source: Path, tmp_path: Path) -> None:
    trainer = new(tmp_path, source)
    done = once_at(trainer, 3, times=99)
    # At which step the loss is NaN is the processor's rounding.
    with pytest.raises(RanAway, match=r"step \d: training ran away; try a lower learning_rate"):
        trainer.fit()
    assert len(done) == 4


def test_a_diagnosis_rescues_too(source: Path, tmp_path: Path) -> None:
    trainer = new(tmp_path, source)
    evaluate, seen = trainer.family.evaluate, []

    def collapsed(*arguments: Any) -> dict[str, float]:
        figures = evaluate(*arguments)
        seen.append(trainer.state.step)
        return figures | (FLAT if trainer.clock.rescues == 0 and trainer.state.step > 8 else {})

    trainer.family.evaluate = collapsed  # type: ignore[method-assign]
    assert trainer.fit().steps == 32
    assert seen == [8, 16, 24, 16, 24, 32, 32]  # suspected at 16, sure at 24; the last is the test part
    assert messages(trainer)[0].startswith("the generator has collapsed")


def stop_at(trainer: Trainer, step: int) -> None:
    tiny.after_step(trainer, step, tiny.interrupt)
    with pytest.raises(Interrupted):
        trainer.fit()


def test_a_rescued_run_resumes_bit_for_bit(source: Path, tmp_path: Path) -> None:
    def end(folder: Path, stops: list[int]) -> Any:
        rescued: Callable[[Trainer], list[int]] = lambda trainer: once_at(trainer, 20)  # noqa: E731
        for stop in stops:
            trainer = new(folder, source)
            rescued(trainer)
            stop_at(trainer, stop)
        trainer = new(folder, source)
        rescued(trainer)
        trainer.fit()
        newest = sorted(trainer.run.checkpoints.glob("step-*.safetensors"))[-1]
        return checkpoint.load(newest)["state"], trainer.clock.rescues

    (one, rescues), (other, rescues_too) = end(tmp_path / "whole", []), end(tmp_path / "parts", [10, 18, 25, 30])
    assert (rescues, rescues_too) == (1, 1)
    assert differences(one, other) == []


def test_checkpoints_behind_the_good_state_are_gone_after_a_rescue(source: Path, tmp_path: Path) -> None:
    trainer = new(tmp_path, source, checkpoint_seconds=1e-9)
    once_at(trainer, 20)
    seen: list[list[str]] = []
    go_back = trainer._go_back

    def watched(trouble: RanAway) -> None:
        go_back(trouble)
        seen.append(sorted(path.name for path in trainer.run.checkpoints.glob("step-*")))

    trainer._go_back = watched  # type: ignore[method-assign]
    trainer.fit()
    assert seen == [["step-000000000016.safetensors"]]
    assert (trainer.run.checkpoints / GOOD).exists()


def test_a_good_state_that_cannot_be_read_ends_the_run_with_the_reason(source: Path, tmp_path: Path) -> None:
    trainer = new(tmp_path, source)
    once_at(trainer, 20)
    tiny.after_step(trainer, 19, lambda trainer: (trainer.run.checkpoints / GOOD).write_bytes(b"half"))
    with pytest.raises(RanAway, match="training ran away"):
        trainer.fit()
