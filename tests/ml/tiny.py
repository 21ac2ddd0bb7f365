"""Small data sets, configs and runs that train in a second, for every test that needs the real thing."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ml import files
from ml.artifact import Manifest
from ml.data import store
from ml.data.builtin import DENSITIES
from ml.data.store import DatasetInfo, Labels, Modality, Pictures
from ml.families import catalog
from ml.run import RunDir
from ml.trainer import Trainer

STEPS = 96
EVALUATIONS = 4

SENTENCES = [
    *(
        f"{subject} {verb} the {thing} ."
        for subject, verb, thing in itertools.product(
            ["I", "You", "We", "Then God", "And he"],
            ["love", "hate", "like", "praise"],
            ["dog", "dogs", "king", "queen", "coffee"],
        )
    ),
    *["The king said they can’t praise God there ."] * 4,
    *["I said good morning 😀 to the queen !"] * 4,
    *["저는 커피를 좋아해요 ."] * 4,
]

# Few lines, none held out, and every one says how it goes on.
RHYME = [
    "one two buckle my shoe",
    "three four knock at the door",
    "five six pick up sticks",
    "seven eight lay them straight",
    "nine ten a big fat hen",
]

# What makes a family small. Dropout and negatives draw random numbers, so that a resumed run must draw the same ones.
CONFIGS: dict[str, dict[str, Any]] = {
    "lstm": {
        "embedding": 16,
        "hidden": 24,
        "layers": 2,
        "dropout": 0.1,
        "dropout_hidden": 0.1,
        "batch_size": 8,
        "length": 8,
        "negatives": 16,
        "learning_rate": 0.05,
        "context": 12,
    },
    "gan": {"channels": [16, 8], "hidden": 0, "batch_size": 16, "latent": 8, "learning_rate": 0.003, "ema": 0.95},
    "gan-number": {"hidden": 16, "batch_size": 128, "discriminator_steps": 2, "learning_rate": 0.004, "ema": 0.95},
}


def info(modality: Modality, name: str = "tiny") -> DatasetInfo:
    return DatasetInfo(name=name, title=name, modality=modality, licence="CC0-1.0", attribution="the tests")


def write_text(folder: Path, lines: Sequence[str]) -> Path:
    store.write_text(folder, info("text", folder.name), lines)
    return folder


def write_images(folder: Path, images: Pictures, labels: Labels | None = None) -> Path:
    store.write_images(folder, info("image", folder.name), images, labels)
    return folder


def discs(count: int, size: int = 28, channels: int = 1) -> Pictures:
    """Bright discs of random place and size on black: uint8 (count, size, size, channels)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    out = np.zeros((count, size, size, channels), np.uint8)
    for picture in out:
        cx, cy = rng.uniform(0.35, 0.65, 2)
        radius = rng.uniform(0.15, 0.3)
        picture[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = rng.integers(150, 256, channels)
    return out


def write_numbers(folder: Path) -> Path:
    density = DENSITIES["gaussian"]
    described = info("number", folder.name).model_copy(update={"density": density})
    store.write_numbers(folder, described, density.draw(2000, seed=1))
    return folder


def write_dataset(folder: Path, modality: Modality) -> Path:
    if modality == "number":
        return write_numbers(folder)
    return write_text(folder, SENTENCES) if modality == "text" else write_images(folder, discs(120))


def new_run(path: Path, family: str, **spec: Any) -> RunDir:
    """A run's folder with its spec.json: this family or implementation, small, STEPS updates unless `spec` differs."""
    path.mkdir(parents=True, exist_ok=True)
    config = CONFIGS[family] if spec.get("preset", "auto") == "auto" else {}
    value = {
        "family": catalog.IMPLEMENTATIONS[family].name if family in catalog.IMPLEMENTATIONS else family,
        "dataset": "given to the trainer",
        "budget": {"steps": STEPS},
        **spec,
        "config": config | {"evaluations": EVALUATIONS} | spec.get("config", {}),
    }
    files.write_json(path / "spec.json", value)
    return RunDir(path)


def new_trainer(run: RunDir, source: Path) -> Trainer:
    spec = run.read_spec()
    family = catalog.load(catalog.key_for(spec.family, store.read_info(source).modality))
    return Trainer(run, spec, family, source)


def events(run: RunDir, kind: str) -> list[dict[str, Any]]:
    return [event for _, event in run.events() if event["kind"] == kind]


def after_step(trainer: Trainer, step: int, act: Callable[[Trainer], object]) -> None:
    """Do `act` at the end of the update that makes `step` of them, whatever the clock says."""
    update = trainer.family.train_step

    def update_then_act(state: Any, *arguments: Any) -> Any:
        losses = update(state, *arguments)
        if state.step + 1 == step:
            act(trainer)
        return losses

    trainer.family.train_step = update_then_act  # type: ignore[method-assign]


def interrupt(trainer: Trainer) -> None:
    trainer.interrupted = True


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two trees of tensors and values are not the same bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [at]
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return [f"{at}: {sorted(map(str, one))} and {sorted(map(str, other))}"]
        return [found for key in one for found in differences(one[key], other[key], f"{at}.{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return [at]
        pairs = zip(one, other, strict=True)
        return [found for i, pair in enumerate(pairs) for found in differences(*pair, f"{at}.{i}")]
    return [] if one == other else [at]


@dataclass(frozen=True)
class Finished:
    """A run that went to its end."""

    run: RunDir
    source: Path
    trainer: Trainer
    manifest: Manifest


def finish(run: RunDir, source: Path) -> Finished:
    trainer = new_trainer(run, source)
    return Finished(run, source, trainer, trainer.fit())


@contextmanager
def limited(resource_name: str, extra: int) -> Iterator[None]:
    """This process with at most `extra` bytes more of RLIMIT_AS, or files of `extra` bytes under RLIMIT_FSIZE."""
    import resource

    which = getattr(resource, resource_name)
    soft, hard = resource.getrlimit(which)
    used = 0
    if resource_name == "RLIMIT_AS":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(which, (used + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))
