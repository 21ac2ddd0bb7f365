"""The one training loop: when to evaluate, preview, checkpoint and stop. Knows no model and no service.

Events go to the run's log (`RunDir.emit`); a stop is a file (cancel) or a flag set by a signal (interrupt).
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ml import artifact, checkpoint, files, health, parallel, updates, warm_start
from ml.artifact import Manifest, ScoreEntry
from ml.data import learned, store
from ml.families.arithmetic import choose_products
from ml.families.base import Family, Preview, RanAway, Split, State, TrainingError
from ml.families.catalog import learns_from
from ml.process import keep_freed_memory
from ml.run import Budget, RunDir, RunSpec

PROGRESS_SECONDS = 0.5
KEPT_CHECKPOINTS = 2
TRAINING_PER_EVALUATION = 24  # seconds each, at least, in a run that ends by the clock
BEST = "best.safetensors"
GOOD = "good.safetensors"  # the last state in which nothing was wrong


class Cancelled(Exception):
    """The run's STOP file appeared."""


class Interrupted(Exception):
    """The process was asked to stop; a checkpoint has been written."""


@dataclass
class Clock:
    """What a run counts besides the model's own state; part of every checkpoint."""

    seconds: float = 0.0  # of training, over all attempts
    evaluations: int = 0
    best_score: float | None = None
    stale: int = 0  # evaluations since the best
    rescues: int = 0  # times that the run went back to its last good state
    over: bool = False  # before the budget's end


def pick_device() -> torch.device:
    """CUDA where there is one that works, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Trainer:
    """Trains one run from where it stands to its end, and leaves the finished version in `run.artifact`.

    Preparing happens here: reading the data, building the model, going on from the newest valid checkpoint.
    A budget's minutes are counted in the seconds of `now`. Raises TrainingError with a reason in plain words.
    """

    def __init__(
        self,
        run: RunDir,
        spec: RunSpec,
        family: Family[Any, Any],
        source: Path,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run, self.family, self.now = run, family, now
        self.device = pick_device()
        choose_products()
        self.interrupted = False  # set by a signal handler
        self.clock, self.writer = Clock(), checkpoint.Writer()
        self.finishing = 1.0  # seconds that the last evaluation and export will take: a guess until one was seen
        self.evaluated, self.evaluation = 0.0, 0.0  # when the last evaluation ended, and how long it took
        self.info = store.read_info(source)
        if self.info.modality != family.spec.modality:
            wants, has = learns_from(family.spec.name), self.info.modality
            raise TrainingError(
                f"the family {family.spec.name!r} learns from {wants}, and {self.info.name!r} holds {has}s"
            )
        self.spec, self.base, self.why, self.config = warm_start.settle(run, spec, family, self.info, source)
        self.budget: Budget = family.spec.budget(spec.preset, spec.budget)
        told = {"config": self.config.model_dump(), "base": self.spec.base_reference}
        self.run.emit("status", status="preparing", device=self.device.type, **told)
        self.data = self._prepare(source)
        keep_freed_memory()
        torch.manual_seed(spec.seed)
        self.state: State = family.build(self.config, self.data, self.device)
        self.steps_per_epoch = family.steps_per_epoch(self.data, self.config)
        if not self._resume():
            self._start_from_base()

    def fit(self) -> Manifest:
        """Raises TrainingError, Cancelled or Interrupted; anything else is a bug."""
        try:
            self._save()
            if self.state.step == 0:
                self._keep_good()
            self.run.emit("status", status="running", **self._position())
            if self.family.spec.evaluates_at_start and self.state.step == 0:
                self._evaluate()
            self._share()
            self._loop()
            self._save()
            parallel.end()
            return self._publish()
        finally:
            self.writer.close()
            with suppress(Exception):  # what ends the run is told, and not that its last checkpoint failed too
                self._saved(wait=True)

    # -- data and state ----------------------------------------------------------------------------------------------

    def _prepare(self, source: Path) -> Any:
        if not self.run.prepared.exists():
            with files.new_folder(self.run.prepared) as new:
                if self.info.modality == "text":
                    learned.keep(self.run.learned_file, new)
                self.family.prepare(source, self.config, new, warm_start.folder(self.run, self.spec))
                if self.base is not None:
                    warm_start.keep(self.base, new)
        return self.family.load(self.run.prepared)

    def _start_from_base(self) -> None:
        base = warm_start.folder(self.run, self.spec)
        if base is None:
            return
        if warm_start.verify(self.run, self.spec) != self.base:
            raise TrainingError(f"{warm_start.name(self.spec)} was replaced after this run began; start a new run")
        self.family.start_from(self.state, self.data, base)
        why = f': {self.why}; say base "none" to start from nothing' if self.why else ""
        self.run.emit("message", text=f"Starting from {warm_start.name(self.spec)}{why}.")

    def _save(self, wait: bool = True) -> None:
        """Write a checkpoint; without `wait`, beside the training. Raises RanAway when a weight is no number."""
        health.losses(self.state)
        health.check_weights(self.state)
        self._saved(wait=True)  # the one before
        self.run.checkpoints.mkdir(exist_ok=True)
        path = self.run.checkpoints / f"step-{self.state.step:012d}.safetensors"
        self.writer.start(path, {"state": self.state.tree(), "clock": asdict(self.clock)})
        self._saved(wait)

    def _saved(self, wait: bool) -> None:
        """Tell of a checkpoint that has been written, and remove those that it makes needless."""
        path = self.writer.written(wait)
        if path is None:
            return
        paths = sorted(path.parent.glob("step-*.safetensors"))
        after = paths.index(path) + 1  # from there on is what a rescue has gone back behind
        for other in paths[: max(0, after - KEPT_CHECKPOINTS)] + paths[after:]:
            other.unlink()
        self.run.emit("checkpoint", step=int(path.stem.removeprefix("step-")))

    def _resume(self) -> bool:
        """Go on from the newest checkpoint that can be read, if any; a damaged one is said and passed over."""
        for path in sorted(self.run.checkpoints.glob("step-*.safetensors"), reverse=True):
            try:
                tree = checkpoint.load(path)
            except (SafetensorError, OSError, ValueError) as error:
                self.run.emit("message", text=f"Checkpoint {path.name} cannot be read ({error}); trying another.")
                continue
            self.state.load_tree(tree["state"])
            self.clock = Clock(**tree["clock"])
            self.run.emit("message", text=f"Going on from step {self.state.step:,}.")
            return True
        return False

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while self.state.progress < 1 and not self.clock.over:
            try:
                self._updates()
            except RanAway as trouble:
                self._go_back(trouble)

    def _updates(self) -> None:
        """Until the budget is used or the run is over. Raises RanAway."""
        state, config = self.state, self.config
        saved = told = time.monotonic()
        started = self.now() - self.clock.seconds
        batches = updates.batches(self.family, self.data, config, self.spec.seed, state)
        while state.progress < 1:
            self._check_stop()
            parallel.tell_step(state.progress)
            updates.update(self.family, state, config, self.data, batches, self.steps_per_epoch)
            self.clock.seconds = self.now() - started
            state.progress = self._progress()
            due = math.floor(state.progress * config.evaluations + 1e-9)
            if due > self.clock.evaluations and self._may_evaluate(time.monotonic()):
                self.clock.evaluations = due
                begun = time.monotonic()
                self._evaluate()
                self.evaluated = time.monotonic()
                self.evaluation = self.evaluated - begun
                last = self.evaluation if state.progress < 1 else 0.0  # one more like this at the end of the budget
                self.finishing = 1.0 + last + self.family.finishing_seconds(config, self.data, self.evaluation)
                if config.patience and self.clock.stale >= config.patience and state.progress < 1:
                    self.run.emit("message", text=f"Stopped early: no better for {config.patience} evaluations.")
                    self.clock.over = True
                    return
            now = time.monotonic()
            if state.progress >= 1 or now - told >= PROGRESS_SECONDS:
                told = now
                self.run.emit("progress", **self._position(), **health.losses(self.state))
            self._saved(wait=False)
            if now - saved >= self.spec.checkpoint_seconds:
                self._save(wait=False)
                saved = time.monotonic()

    def _go_back(self, trouble: RanAway) -> None:
        """To the last good state, at half the rate; after the family's tries, to the end, or `trouble` is raised."""
        try:
            tree = checkpoint.load(self.run.checkpoints / GOOD)
        except (SafetensorError, OSError, ValueError):
            raise trouble from None
        clock, tries = self.clock, self.family.rescues
        clock.over = clock.rescues >= tries
        if clock.over and clock.best_score is None:
            raise trouble
        self.state.load_tree(tree)
        clock.rescues += not clock.over
        self.state.rate = 0.5**clock.rescues
        self.state.progress = self._progress()
        clock.evaluations = math.floor(self.state.progress * self.config.evaluations + 1e-9)
        self._save()
        self._share()
        remedy = f"going back to step {self.state.step:,} and on at half the rate ({clock.rescues} of {tries} times)"
        if clock.over:
            remedy = f"that was the end of {tries} tries at lower rates; the best version so far is kept"
        self.run.emit("message", text=f"{trouble}; {remedy}.")

    def _share(self) -> None:
        """Have the other processes of this training, if there are any, go on from here with this one."""
        if parallel.count() > 1 and self.family.shares:
            updates.share(self.family, self.config, self.spec.seed, self.state)
        elif parallel.count() > 1:
            self.run.emit("message", text=f"{self.family.spec.title}: it trains in one process; the others end.")
            parallel.end()

    def _progress(self) -> float:
        """The share of the budget used: the largest of its limits."""
        state, budget = self.state, self.budget
        parts = [0.0]
        if budget.steps:
            parts.append(state.step / budget.steps)
        if budget.epochs:
            parts.append(state.step / (budget.epochs * self.steps_per_epoch))
        if budget.minutes:
            parts.append(self.clock.seconds / (60 * budget.minutes))
        return min(1.0, max(parts))

    def _may_evaluate(self, now: float) -> bool:
        """Whether measuring now leaves most of the time for training; shortly before the end, where all is measured
        anyway, it does not.

        Only where the clock ends the run anyway: otherwise two runs would choose their best among other moments.
        """
        state, minutes = self.state, self.budget.minutes
        if minutes is None or self.clock.seconds / (60 * minutes) != state.progress or state.progress >= 1:
            return True
        apart = TRAINING_PER_EVALUATION * self.evaluation
        return now - self.evaluated >= apart and 60 * minutes - self.clock.seconds >= apart / 2

    def _evaluate(self) -> None:
        """Measure, draw a sample, and keep the weights if they are as good as the best so far."""
        losses = health.losses(self.state)
        health.check_weights(self.state)
        held_out = self.family.has_held_out(self.data)
        figures = self.family.evaluate(self.state, self.config, self.data, "validation" if held_out else "train")
        for name, loss in losses.items():
            if name not in figures:
                figures[name] = loss
            elif held_out:  # the same figure on both parts: their gap is the overfitting
                figures[f"train_{name}"] = loss
        position = {"epoch": self._epochs(), "step": self.state.step, "evaluation": self.clock.evaluations}
        self.run.emit("metrics", **position, **_finite(figures))
        self._keep_preview(self.family.preview(self.state, self.config, self.data))
        if not held_out:
            return
        score = self.family.spec.score
        value = figures[score.metric]
        best = self.clock.best_score
        if best is None or score.as_good(value, best, self.family.chance(self.data)):
            self.run.checkpoints.mkdir(exist_ok=True)
            checkpoint.save(self.run.checkpoints / BEST, _weights(self.state))
        if best is None or score.better(value, best):
            self.clock.best_score, self.clock.stale = value, 0
        else:
            self.clock.stale += 1
        trouble = self.family.diagnose(self.state, figures)
        if trouble is not None and trouble.sure:
            raise RanAway(trouble.text)
        if trouble is None:
            self._keep_good()

    def _keep_good(self) -> None:
        if self.family.rescues:
            checkpoint.save(self.run.checkpoints / GOOD, self.state.tree())

    def _keep_preview(self, preview: Preview) -> None:
        self.run.preview.mkdir(exist_ok=True)
        name = f"step-{self.state.step:012d}"
        position = {"step": self.state.step, "evaluation": self.clock.evaluations}
        if preview.png is not None:
            files.write_bytes(self.run.preview / f"{name}.png", preview.png)
            self.run.emit("sample", **position, file=f"preview/{name}.png", **preview.detail)
        if preview.text is not None:
            files.write_bytes(self.run.preview / f"{name}.txt", preview.text.encode())
            self.run.emit("sample", **position, text=preview.text, **preview.detail)

    def _check_stop(self) -> None:
        if self.interrupted:
            parallel.end()  # if they have ended it was that which interrupted this one, and RankLost is raised
            self._save()
            raise Interrupted
        if self.run.stop_file.exists():
            parallel.end()
            raise Cancelled

    # -- what is told ------------------------------------------------------------------------------------------------

    def _epochs(self) -> float:
        return round(self.state.epoch + self.state.batch / self.steps_per_epoch, 3)

    def _position(self) -> dict[str, Any]:
        state, seconds = self.state, self.clock.seconds
        known = state.progress > 0 and state.step > 0
        return {
            "epoch": self._epochs(),
            "step": state.step,
            "total_steps": max(state.step, round(state.step / state.progress)) if known else None,
            "progress": round(state.progress, 4),
            "eta_seconds": round(seconds * (1 / state.progress - 1) + self.finishing, 1) if known else None,
        }

    # -- the end -----------------------------------------------------------------------------------------------------

    def _publish(self) -> Manifest:
        """Take the best weights, measure them on the test split once, and write the version."""
        held_out = self.family.has_held_out(self.data)
        best = self.run.checkpoints / BEST
        if held_out and best.exists():
            for name, weights in checkpoint.load(best).items():
                self.state.modules[name].load_state_dict(weights)
        health.check_weights(self.state)
        self.family.finish(self.state, self.config, self.data)
        split: Split = "test" if held_out else "train"
        figures: dict[str, Any] = _finite(self.family.evaluate(self.state, self.config, self.data, split))
        figures["split"] = split
        preview = self.family.preview(self.state, self.config, self.data)
        score = self.family.spec.score
        scored_on = f"{split} of {self.info.sha256}, {self.family.scored_on(self.config, self.data)}"
        manifest = Manifest(
            family=self.family.spec.name,
            modality=self.family.spec.modality,
            preset=self.spec.preset,
            config=self.config.model_dump(),
            seed=self.spec.seed,
            dataset=self.info,
            base=warm_start.lineage(self.spec, self.base) if self.base is not None else None,
            learned=sorted({*learned.hashes(self.run.prepared), *(self.base.learned if self.base is not None else ())}),
            metrics=figures,
            score=ScoreEntry(metric=score.metric, higher_is_better=score.higher_is_better, held_out=scored_on),
            serving={},
            parameters=sum(p.numel() for module in self.state.modules.values() for p in module.parameters()),
            epochs=self._epochs(),
            steps=self.state.step,
            seconds=round(self.clock.seconds, 1),
            device=self.device.type,
            made_with={"torch": torch.__version__},
        )

        def fill(folder: Path) -> Manifest:
            manifest.serving = self.family.export(self.state, self.config, self.data, folder)
            (folder / "samples").mkdir()
            if preview.png is not None:
                (folder / "samples" / "grid.png").write_bytes(preview.png)
            if preview.text is not None:
                (folder / "samples" / "sample.txt").write_text(preview.text, encoding="utf-8")
            return manifest

        artifact.write(self.run.artifact, fill)
        self.run.emit("done", metrics=figures, epoch=self._epochs(), step=self.state.step)
        return manifest


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: such a figure becomes null."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _weights(state: State) -> dict[str, Any]:
    return {name: module.state_dict() for name, module in state.modules.items()}
