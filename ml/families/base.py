"""The seam every family implements, and the state a run carries. Must not know: the loop, files, the service."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ml.families.spec import FamilySpec

C = TypeVar("C", bound=BaseModel)  # the family's config
D = TypeVar("D")  # its prepared data
Split = Literal["train", "validation", "test"]


class TrainingError(Exception):
    """Training cannot start or go on; the message says why and what to change, in plain words."""


class RanAway(TrainingError):
    """What was learned is spoiled, and an earlier state at a lower rate may do better."""


@dataclass
class State:
    """All that changes while training; its `tree` is a checkpoint, and loading it continues bit for bit on a CPU."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    device: torch.device
    extra: dict[str, Tensor] = field(default_factory=dict)  # e.g. a hidden state carried from batch to batch
    epoch: int = 0  # finished passes over the data
    batch: int = 0  # batches done within the current pass
    step: int = 0  # updates in all
    progress: float = 0.0  # share of the budget used: schedules follow it
    rate: float = 1.0  # what rescues left of the learning rate
    losses: dict[str, Tensor] = field(default_factory=dict)  # of the last step, 0-d
    fitted: Any = None  # what `Family.finish` added to the finished weights; in no checkpoint

    def tree(self) -> dict[str, Any]:
        return {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "extra": self.extra,
            "losses": self.losses,
            "counters": [self.epoch, self.batch, self.step, self.progress],
            "rate": self.rate,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
        }

    def load_tree(self, tree: dict[str, Any]) -> None:
        for name, module in self.modules.items():
            module.load_state_dict(tree["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(tree["optimizers"][name])
        self.extra = {name: tensor.to(self.device) for name, tensor in tree["extra"].items()}
        self.losses = tree["losses"]
        self.epoch, self.batch, self.step, self.progress = tree["counters"]
        self.rate = tree.get("rate", 1.0)  # a checkpoint of before there were rescues
        torch.set_rng_state(tree["rng"])
        if tree["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(tree["cuda_rng"])


@dataclass(frozen=True)
class Trouble:
    """What seems wrong with a run, in plain words; `sure` once it must be mended."""

    text: str
    sure: bool


@dataclass(frozen=True)
class Preview:
    """What the model makes at this moment, from the same seeds every time: a sentence, or a PNG.

    `detail`: the same in numbers, for whoever draws it anew. It goes into the sample's event: a few kilobytes of JSON.
    """

    text: str | None = None
    png: bytes | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def read_weights(base: Path) -> dict[str, Tensor]:
    """A version's weights. Raises TrainingError when they cannot be read or are no numbers."""
    try:
        weights = load_file(base / "weights.safetensors")
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"the base's weights cannot be read: {error}") from error
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise TrainingError(f"the base's weights cannot be used: {name} holds values that are no numbers")
    return weights


def load_weights(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy `weights` into `module`. Raises TrainingError when they are not exactly the ones it has."""
    shapes, wanted = ({k: tuple(w.shape) for k, w in tree.items()} for tree in (weights, module.state_dict()))
    if shapes != wanted:
        name = min(k for k in shapes.keys() | wanted.keys() if shapes.get(k) != wanted.get(k))
        raise TrainingError(
            f"the base's architecture does not fit: {name} is {shapes.get(name, 'missing')} "
            f"where {wanted.get(name, 'nothing')} is needed; start from another version, or from none"
        )
    module.load_state_dict(weights)


class Family(ABC, Generic[C, D]):
    """One kind of model. Stateless: what changes lives in `State`, what was read in the data `D`."""

    shares = False  # whether `train_step` can be shared by several processes: ml.parallel
    rescues = 0  # how often a run that ran away goes back to its last good state, at half the rate

    def __init__(self, spec: FamilySpec[C]) -> None:
        self.spec = spec

    @abstractmethod
    def prepare(self, source: Path, config: C, into: Path, base: Path | None = None) -> D:
        """Read the data-set folder `source`, split it, keep arrays in `into` (a new folder). Raises TrainingError.

        `base` is the folder of the version that training will start from, where there is one. Phrases that a text's
        training part gets lie in `into` already (ml.data.learned).
        """

    @abstractmethod
    def load(self, prepared: Path) -> D:
        """Read back what `prepare` kept."""

    @abstractmethod
    def build(self, config: C, data: D, device: torch.device) -> State:
        """Modules and optimizers, initialised from torch's global generator."""

    @abstractmethod
    def start_from(self, state: State, data: D, base: Path) -> None:
        """Give the modules the weights of the version in `base`. Raises TrainingError when they do not fit."""

    def fits(self, config: C, source: Path, base: Path) -> str | None:
        """Why a run on `source` is to start from a version that nobody named, in plain words; None: it is not to.

        `config` is what it would train with. Raises TrainingError where the version cannot be read.
        """
        return None

    @abstractmethod
    def steps_per_epoch(self, data: D, config: C) -> int:
        """Batches in one pass."""

    @abstractmethod
    def batches(self, data: D, config: C, seed: int, epoch: int, start: int) -> Iterator[Any]:
        """One pass from batch `start` on, in an order that depends on (seed, epoch) alone."""

    @abstractmethod
    def train_step(self, state: State, config: C, data: D, batch: Any) -> dict[str, Tensor]:
        """One update. Returns 0-d losses, left on the device so that nothing waits for it."""

    @abstractmethod
    def evaluate(self, state: State, config: C, data: D, split: Split) -> dict[str, float]:
        """Metrics by their names in the API. Leaves the state, random generators included, as it was."""

    def diagnose(self, state: State, figures: dict[str, float]) -> Trouble | None:
        """What is wrong with a run whose evaluation gave these figures; None when nothing is.

        What it must remember from one evaluation to the next belongs in `state.extra`.
        """
        return None

    def chance(self, data: D) -> float:
        """By how much a score on the validation part may be worse than the best by chance alone: so little worse, the
        later weights are kept, which have learned longer at lower rates."""
        return 0.0

    def finishing_seconds(self, config: C, data: D, evaluation: float) -> float:
        """About how long `finish`, measuring the test part and export will take, where an evaluation took so long."""
        return 1.8 * evaluation

    def finish(self, state: State, config: C, data: D) -> None:
        """Fit to the finished weights, on the validation part, what else answers; keep it in `state.fitted`."""

    @abstractmethod
    def preview(self, state: State, config: C, data: D) -> Preview:
        """A sample from fixed seeds."""

    @abstractmethod
    def has_held_out(self, data: D) -> bool:
        """Whether there is a validation part to choose the best checkpoint by."""

    def scored_on(self, config: C, data: D) -> str:
        """What, beside the held-out data, must be equal for two scores to be comparable."""
        return ""

    @abstractmethod
    def export(self, state: State, config: C, data: D, into: Path) -> dict[str, Any]:
        """Write weights.safetensors, *.onnx and assets; return what serving must know (the manifest's `serving`)."""
