"""The picture GAN: its data, update, metrics and export."""

import io
import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ml import files, parallel
from ml.calibration import calibrate
from ml.data import images, store
from ml.data.store import Labels, Pictures
from ml.export import export_onnx
from ml.families.arithmetic import to_device
from ml.families.base import Family, Preview, Split, State, TrainingError, Trouble, load_weights, read_weights
from ml.families.gan import evaluation, watch
from ml.families.gan.augment import augment
from ml.families.gan.config import UPDATES, GANConfig
from ml.families.gan.losses import discriminator_loss, generator_loss, slope
from ml.families.gan.networks import Discriminator, Generator
from ml.families.optimizers import Adam
from ml.families.schedule import hold_then_decay
from ml.latents import Seed, latent

LEAST_PICTURES = 50
CHANCE = 0.3  # of the distance between two sets of real pictures: as far do looks at the same weights lie apart
PREVIEW_SEEDS = 36


@dataclass(frozen=True)
class ImageData:
    """Pictures of each split, uint8 (N, S, S, C), and their classes (N,), where the data set has some."""

    splits: dict[str, Pictures]
    labels: dict[str, Labels] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    _references: dict[str, evaluation.Reference] = field(default_factory=dict, compare=False)

    def reference(self, split: Split) -> evaluation.Reference:
        """At most `evaluation.MOST` pictures of the split, to compare drawn ones with."""
        if split not in self._references:
            pictures = self.splits[split]
            some = _spread(len(pictures), evaluation.MOST)
            self._references[split] = evaluation.Reference(_to_tensor(pictures[some]))
        return self._references[split]

    @cached_property
    def floor(self) -> float:
        """The distance of as many training pictures to those of the validation part; worked out once a run."""
        reference = self.reference("validation")
        some = _spread(len(self.splits["train"]), len(reference.pictures))
        return reference.compare(_to_tensor(self.splits["train"][some]))["frechet_distance"]

    @cached_property
    def known(self) -> evaluation.Known:
        """What copies are looked for among; worked out once a run."""
        train = self.splits["train"]
        some = _spread(len(train), evaluation.SEARCHED)
        small = [evaluation.thumbnails(_to_tensor(part)) for part in (train[some], self.splits["validation"])]
        labels = self.labels["train"][some] if self.classes else None
        return evaluation.Known(small[0], small[1], labels, self.classes)


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` places of `count`, from all over: pictures often lie in the order of their classes."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


class GANFamily(Family[GANConfig, ImageData]):
    """Goodfellow et al. 2014 (arXiv:1406.2661), with lazy R1 and R2 gradient penalties (Mescheder et al. 2018,
    arXiv:1801.04406; Karras et al. 2020, arXiv:1912.04958) and an averaged generator."""

    shares = True
    rescues = 3

    def prepare(self, source: Path, config: GANConfig, into: Path, base: Path | None = None) -> ImageData:
        assert config.size is not None
        pictures, labels = store.read_images(source)
        classes = store.read_info(source).classes if labels is not None else []
        if config.labels and len(classes) < 2:
            raise TrainingError("these pictures have no classes to learn; send them in folders, or leave out 'labels'")
        if len(pictures) < LEAST_PICTURES:
            raise TrainingError(f"{len(pictures)} pictures are too few for a GAN; give it at least {LEAST_PICTURES}")
        if all(np.array_equal(picture, pictures[0]) for picture in pictures):  # one by one: they are on disk
            raise TrainingError("all pictures are the same; a GAN learns from differences")
        pictures = images.resize(pictures, config.size, 3 if config.colour else 1)
        parts = zip(("train", "validation", "test"), images.split(len(pictures)), strict=True)
        for name, part in parts:
            np.save(into / f"{name}.npy", pictures[part])
            if labels is not None and classes:
                (into / "labels").mkdir(exist_ok=True)
                np.save(into / "labels" / f"{name}.npy", labels[part])
        files.write_json(into / "classes.json", classes)
        return self.load(into)

    def load(self, prepared: Path) -> ImageData:
        pictures, labels = (
            {path.stem: np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
            for folder in (prepared, prepared / "labels")
        )
        path = prepared / "classes.json"
        return ImageData(pictures, labels, json.loads(path.read_bytes()) if path.exists() else [])

    def build(self, config: GANConfig, data: ImageData, device: torch.device) -> State:
        # Channels last: convolutions take a fifth to a third less time on a CPU.
        generator, discriminator = (
            network(config).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for network in (Generator, Discriminator)
        )
        average = deepcopy(generator).requires_grad_(False)

        def adam(module: nn.Module) -> torch.optim.Optimizer:
            assert config.learning_rate is not None
            return Adam(module.parameters(), config.learning_rate, (config.beta1, config.beta2))

        return State(
            {"generator": generator, "discriminator": discriminator, "average": average},
            {"generator": adam(generator), "discriminator": adam(discriminator)},
            device,
        )

    def start_from(self, state: State, data: ImageData, base: Path) -> None:
        """Both generators start from the averaged one, the only one that a version holds."""
        weights = read_weights(base)
        sources = {"generator": "generator.", "average": "generator.", "discriminator": "discriminator."}
        for module, part in sources.items():
            kept = {name.removeprefix(part): w for name, w in weights.items() if name.startswith(part)}
            load_weights(state.modules[module], kept)

    def steps_per_epoch(self, data: ImageData, config: GANConfig) -> int:
        """At least UPDATES: an epoch goes round few pictures as often as that takes."""
        return _rounds(data, config) * _steps_per_round(data, config)

    def batches(self, data: ImageData, config: GANConfig, seed: int, epoch: int, start: int) -> Iterator[Any]:
        assert config.batch_size is not None
        train, rounds = data.splits["train"], _rounds(data, config)
        first, start = divmod(start, _steps_per_round(data, config))
        for round_ in range(first, rounds):
            skipped = start if round_ == first else 0
            for part in images.shuffled_batches(len(train), config.batch_size, seed, epoch * rounds + round_, skipped):
                yield _to_tensor(train[part]), _to_labels(data.labels["train"][part]) if config.labels else None

    def train_step(self, state: State, config: GANConfig, data: ImageData, batch: Any) -> dict[str, Tensor]:
        generator, discriminator = state.modules["generator"], state.modules["discriminator"]
        assert config.learning_rate is not None
        assert config.augment is not None
        rate = config.learning_rate * hold_then_decay(state.progress, config.hold) * state.rate
        for optimizer in state.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        discriminator.train()
        real = to_device(parallel.mine(batch[0]), state.device)
        label = None if batch[1] is None else to_device(parallel.mine(batch[1]), state.device)
        share = parallel.weight(len(real), len(batch[0]))
        with_penalty = config.penalty > 0 and state.step % config.penalty_every == 0

        z = parallel.each(lambda rows: torch.randn(rows, config.latent, device=state.device), len(real))
        drawn = generator(z, label)
        shown, fake = real.requires_grad_(with_penalty), drawn.detach().requires_grad_(with_penalty)
        d_real = discriminator(augment(shown, config.augment), label, real=True)
        d_fake = discriminator(augment(fake, config.augment), label)
        loss_d = total = discriminator_loss(config.objective, d_real, d_fake)
        if with_penalty:
            total = loss_d + config.penalty_every * config.penalty / 2 * (slope(d_real, shown) + slope(d_fake, fake))
        loss_d = _update(state.optimizers["discriminator"], total * share, loss_d * share)

        # The same drawn pictures, before the discriminator's new eyes.
        discriminator.requires_grad_(False)
        d_fake = discriminator(augment(drawn, config.augment), label)
        loss_g = generator_loss(config.objective, d_real.detach(), d_fake) * share
        loss_g = _update(state.optimizers["generator"], loss_g, loss_g)
        discriminator.requires_grad_(True)

        with torch.no_grad():
            means, news = (tuple(module.parameters()) for module in (state.modules["average"], generator))
            torch._foreach_lerp_(means, news, 1 - config.ema)
        return {"loss_d": loss_d, "loss_g": loss_g}

    @torch.no_grad()
    def evaluate(self, state: State, config: GANConfig, data: ImageData, split: Split) -> dict[str, float]:
        """On as many drawn pictures as real ones, of the same classes; on the test part also each figure's floor, which
        is that of the test part against the validation part instead of drawn ones."""
        reference, labels = data.reference(split), _labels_of(config, data, split)
        real = reference.pictures
        drawn = self._draw(state, config, range(len(real)), labels)
        logits = [_judge(state, pictures, labels) for pictures in (real, drawn)]
        # Pairs fix only the difference of two logits: what is in the middle is then taken as 1/2.
        middle = sum(float(kind.mean()) for kind in logits) / 2 if config.objective == "relativistic" else 0.0
        d_real, d_fake = (float(torch.sigmoid(kind - middle).mean()) for kind in logits)
        figures = {
            **reference.compare(drawn),
            "d_real": d_real,
            "d_fake": d_fake,
            **data.known.figures(drawn),
        }
        if split == "test":
            floors = reference.compare(data.reference("validation").pictures) | data.known.figures(real)
            names = ("precision", "recall", "density", "coverage", "near_copies")
            figures |= {f"{name}_floor": floors[name] for name in names}
            figures["frechet_floor"] = floors["frechet_distance"]
        return figures

    def chance(self, data: ImageData) -> float:
        return CHANCE * data.floor

    def diagnose(self, state: State, figures: dict[str, float]) -> Trouble | None:
        return watch.diagnose(state, figures)

    def preview(self, state: State, config: GANConfig, data: ImageData) -> Preview:
        seeds = range(1, PREVIEW_SEEDS + 1)
        labels = torch.tensor([Seed(seed).label(config.classes) for seed in seeds]) if config.labels else None
        pictures = _to_pixels(self._draw(state, config, seeds, labels))
        out = io.BytesIO()
        images.to_image(images.grid(pictures, columns=6)).save(out, "png")
        return Preview(png=out.getvalue())

    @torch.no_grad()
    def _draw(self, state: State, config: GANConfig, seeds: range, labels: Tensor | None = None) -> Tensor:
        """The averaged generator's pictures of these seeds, on the CPU: (N, C, S, S)."""
        return _in_parts(state.modules["average"], state.device, _latents(seeds, config.latent), labels)

    def has_held_out(self, data: ImageData) -> bool:
        return True

    def scored_on(self, config: GANConfig, data: ImageData) -> str:
        return f"{config.size} pixels, {'colour' if config.colour else 'gray'}"

    def export(self, state: State, config: GANConfig, data: ImageData, into: Path) -> dict[str, Any]:
        assert config.size is not None
        generator, discriminator = state.modules["average"].cpu().eval(), state.modules["discriminator"].cpu().eval()
        parts = {"generator": generator, "discriminator": discriminator}
        tensors = {
            f"{part}.{name}": tensor.contiguous()
            for part, module in parts.items()
            for name, tensor in module.state_dict().items()
        }
        save_file(tensors, into / "weights.safetensors")
        channels = 3 if config.colour else 1
        label, name = ((torch.zeros(1, dtype=torch.int64),), ["label"]) if config.labels else ((), [])
        # One picture a run, always: a seed's bytes must not depend on what else was asked for.
        z, picture = torch.zeros(1, config.latent), torch.zeros(1, channels, config.size, config.size)
        export_onnx(generator, (z, *label), into / "generator.onnx", ["z", *name], ["picture"])
        export_onnx(discriminator, (picture, *label), into / "discriminator.onnx", ["picture", *name], ["logit"])
        return {
            "latent": config.latent,
            "size": config.size,
            "channels": channels,
            "labels": data.classes if config.labels else [],
            "calibration": self._calibration(state, config, data),
        }

    def _calibration(self, state: State, config: GANConfig, data: ImageData) -> dict[str, float]:
        real, labels = _to_tensor(data.splits["validation"]), _labels_of(config, data, "validation")
        drawn = self._draw(state, config, range(len(real)), labels)
        return calibrate(*(_judge(state, pictures, labels).numpy() for pictures in (real, drawn)))


def _steps_per_round(data: ImageData, config: GANConfig) -> int:
    assert config.batch_size is not None
    return max(1, len(data.splits["train"]) // config.batch_size)


def _rounds(data: ImageData, config: GANConfig) -> int:
    """How often an epoch goes round the pictures."""
    return -(-UPDATES // _steps_per_round(data, config))


@lru_cache(maxsize=4)
def _latents(seeds: range, size: int) -> Tensor:
    """(N, size); kept, because every evaluation draws the same seeds."""
    return torch.from_numpy(np.stack([latent(seed, size) for seed in seeds]))


def _to_tensor(pictures: Pictures) -> Tensor:
    """uint8 (N, S, S, C) -> float (N, C, S, S) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _to_pixels(pictures: Tensor) -> Pictures:
    """float (N, C, S, S) in [-1, 1] -> uint8 (N, S, S, C)."""
    pixels: Pictures = pictures.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


def _to_labels(labels: Labels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64))


def _labels_of(config: GANConfig, data: ImageData, split: Split) -> Tensor | None:
    if not config.labels:
        return None
    labels = data.labels[split]
    return _to_labels(labels[_spread(len(labels), evaluation.MOST)])


def _update(optimizer: torch.optim.Optimizer, loss: Tensor, told: Tensor) -> Tensor:
    """Make the update; returns `told`, this process's part of a loss, for all of the batch."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    told = told.detach()
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    parallel.add_up([*gradients, told])
    optimizer.step()
    return told


@torch.no_grad()
def _in_parts(network: nn.Module, device: torch.device, inputs: Tensor, labels: Tensor | None) -> Tensor:
    """What a network says of inputs on the CPU, 128 at a time, back on the CPU."""
    parts = torch.split(inputs, 128)
    classes = torch.split(labels, 128) if labels is not None else [None] * len(parts)
    out = [
        network(part.to(device), None if label is None else label.to(device)).cpu()
        for part, label in zip(parts, classes, strict=True)
    ]
    return torch.cat(out)


def _judge(state: State, pictures: Tensor, labels: Tensor | None) -> Tensor:
    """The discriminator's logits of pictures one by one: (N,)."""
    discriminator = state.modules["discriminator"]
    was = discriminator.training
    logits = _in_parts(discriminator.eval(), state.device, pictures, labels)
    discriminator.train(was)
    return logits
