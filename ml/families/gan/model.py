"""The picture GAN: networks, update, metrics and export."""

import io
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ml import metrics
from ml.data import images, store
from ml.data.store import Pictures
from ml.export import export_onnx
from ml.families.base import Family, Preview, Split, State, TrainingError, load_weights, read_weights
from ml.families.gan.config import UPDATES, GANConfig
from ml.families.gan.features import RandomFeatures
from ml.families.schedule import hold_then_decay
from ml.latents import latent

LEAST_PICTURES = 50
PREVIEW_SEEDS = 36
SLOPE = 0.2  # of the leaky rectifier


def _init(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Generator(nn.Module):
    """z (B, Z) -> pictures (B, C, S, S) in [-1, 1]: a linear layer, then upsampling and 3x3 convolutions, no norms."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        assert config.size is not None
        assert config.channels is not None
        self.side = config.size // 2 ** len(config.channels)
        self.width = config.channels[0]
        self.stem = _init(nn.Linear(config.latent, self.width * self.side**2))
        widths = [*config.channels, 3 if config.colour else 1]
        self.blocks = nn.ModuleList(_init(nn.Conv2d(a, b, 3, padding=1)) for a, b in pairwise(widths))

    def forward(self, z: Tensor) -> Tensor:
        x = self.stem(z).view(-1, self.width, self.side, self.side)  # (B, C0, s, s)
        for conv in self.blocks:
            x = conv(F.interpolate(F.leaky_relu(x, SLOPE), scale_factor=2.0, mode="nearest"))  # (B, Ci, 2s, 2s)
        return torch.tanh(x)


class Discriminator(nn.Module):
    """Pictures (B, C, S, S) -> logits (B,) that they are real: strided convolutions and a minibatch deviation.

    The deviation over the batch (Karras et al. 2018, arXiv:1710.10196) shows the network a collapse. In evaluation its
    running mean on real pictures stands in, so that one picture can be judged by itself.
    """

    deviation: Tensor

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        assert config.size is not None
        assert config.channels is not None
        widths = [3 if config.colour else 1, *reversed(config.channels)]
        self.blocks = nn.ModuleList(_init(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(widths))
        side = config.size // 2 ** len(config.channels)
        self.head = _init(nn.Linear((config.channels[0] + 1) * side**2, 1))
        self.register_buffer("deviation", torch.zeros(()))

    def forward(self, x: Tensor, real: bool = False) -> Tensor:
        for conv in self.blocks:
            x = F.leaky_relu(conv(x), SLOPE)  # (B, Ci, s, s)
        if self.training:
            spread = x.var(0, correction=0).add(1e-8).sqrt().mean()  # the root of exactly 0 has no slope
            if real:
                self.deviation.lerp_(spread.detach(), 0.01)
        else:
            spread = self.deviation
        x = torch.cat([x, spread.expand(x.shape[0], 1, *x.shape[2:])], 1)
        out: Tensor = self.head(x.flatten(1)).squeeze(1)
        return out


@dataclass(frozen=True)
class ImageData:
    """Pictures of each split, uint8 (N, S, S, C)."""

    splits: dict[str, Pictures]


class GANFamily(Family[GANConfig, ImageData]):
    """Goodfellow et al. 2014 (arXiv:1406.2661), with lazy R1 and R2 gradient penalties (Mescheder et al. 2018,
    arXiv:1801.04406; Karras et al. 2020, arXiv:1912.04958) and an averaged generator."""

    def prepare(self, source: Path, config: GANConfig, into: Path, base: Path | None = None) -> ImageData:
        assert config.size is not None
        pictures, _ = store.read_images(source)
        if len(pictures) < LEAST_PICTURES:
            raise TrainingError(f"{len(pictures)} pictures are too few for a GAN; give it at least {LEAST_PICTURES}")
        if all(np.array_equal(picture, pictures[0]) for picture in pictures):  # one by one: they are on disk
            raise TrainingError("all pictures are the same; a GAN learns from differences")
        pictures = images.resize(pictures, config.size, 3 if config.colour else 1)
        parts = zip(("train", "validation", "test"), images.split(len(pictures)), strict=True)
        for name, part in parts:
            np.save(into / f"{name}.npy", pictures[part])
        return self.load(into)

    def load(self, prepared: Path) -> ImageData:
        return ImageData({path.stem: np.load(path, allow_pickle=False) for path in sorted(prepared.glob("*.npy"))})

    def build(self, config: GANConfig, data: ImageData, device: torch.device) -> State:
        generator, discriminator = Generator(config).to(device), Discriminator(config).to(device)
        average = deepcopy(generator).requires_grad_(False)

        def adam(module: nn.Module) -> torch.optim.Optimizer:
            assert config.learning_rate is not None
            return torch.optim.Adam(module.parameters(), config.learning_rate, (config.beta1, config.beta2))

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
                yield _to_tensor(train[part])

    def train_step(self, state: State, config: GANConfig, data: ImageData, batch: Any) -> dict[str, Tensor]:
        generator, discriminator = state.modules["generator"], state.modules["discriminator"]
        optimizer_g, optimizer_d = state.optimizers["generator"], state.optimizers["discriminator"]
        assert config.learning_rate is not None
        rate = config.learning_rate * hold_then_decay(state.progress, config.hold)
        for optimizer in (optimizer_g, optimizer_d):
            for group in optimizer.param_groups:
                group["lr"] = rate
        discriminator.train()
        real = batch.to(state.device)
        with_penalty = config.penalty > 0 and state.step % config.penalty_every == 0

        with torch.no_grad():
            fake = generator(torch.randn(len(real), config.latent, device=state.device))
        if with_penalty:
            real.requires_grad_()
            fake.requires_grad_()
        d_real, d_fake = discriminator(real, real=True), discriminator(fake)
        loss_d = F.softplus(-d_real).mean() + F.softplus(d_fake).mean()  # -E[log D(x)] - E[log(1 - D(G(z)))]
        total = loss_d
        if with_penalty:
            total = loss_d + config.penalty_every * config.penalty / 2 * (_slope(d_real, real) + _slope(d_fake, fake))
        _update(optimizer_d, total)

        discriminator.requires_grad_(False)
        d_fake = discriminator(generator(torch.randn(len(real), config.latent, device=state.device)))
        # minimax: minimise E[log(1 - D(G(z)))]; non-saturating: minimise -E[log D(G(z))]
        loss_g = -F.softplus(d_fake).mean() if config.objective == "minimax" else F.softplus(-d_fake).mean()
        _update(optimizer_g, loss_g)
        discriminator.requires_grad_(True)

        with torch.no_grad():
            for mean, new in zip(state.modules["average"].parameters(), generator.parameters(), strict=True):
                mean.lerp_(new, 1 - config.ema)
        return {"loss_d": loss_d.detach(), "loss_g": loss_g.detach()}

    @torch.no_grad()
    def evaluate(self, state: State, config: GANConfig, data: ImageData, split: Split) -> dict[str, float]:
        discriminator = state.modules["discriminator"].eval()
        real = _to_tensor(data.splits[split])
        fake = self._draw(state, config, range(len(real)))
        features = RandomFeatures(real.shape[1])
        figures = {
            "frechet_distance": metrics.frechet_distance(features(real), features(fake)),
            "d_real": _mean_probability(discriminator, real.to(state.device)),
            "d_fake": _mean_probability(discriminator, fake.to(state.device)),
        }
        discriminator.train()
        if split == "test":  # what the distance is between two sets of real pictures of these sizes
            other = features(_to_tensor(data.splits["validation"]))
            figures["frechet_floor"] = metrics.frechet_distance(features(real), other)
        return figures

    def preview(self, state: State, config: GANConfig, data: ImageData) -> Preview:
        pictures = _to_pixels(self._draw(state, config, range(1, PREVIEW_SEEDS + 1)))
        out = io.BytesIO()
        images.to_image(images.grid(pictures, columns=6)).save(out, "png")
        return Preview(png=out.getvalue())

    @torch.no_grad()
    def _draw(self, state: State, config: GANConfig, seeds: range) -> Tensor:
        """The averaged generator's pictures of these seeds, on the CPU: (N, C, S, S)."""
        z = torch.from_numpy(np.stack([latent(seed, config.latent) for seed in seeds]))
        parts = [state.modules["average"](part.to(state.device)).cpu() for part in torch.split(z, 128)]
        return torch.cat(parts)

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
        # One picture a run, always: a seed's bytes must not depend on what else was asked for.
        export_onnx(generator, (torch.zeros(1, config.latent),), into / "generator.onnx", ["z"], ["picture"])
        picture = torch.zeros(1, channels, config.size, config.size)
        export_onnx(discriminator, (picture,), into / "discriminator.onnx", ["picture"], ["logit"])
        return {"latent": config.latent, "size": config.size, "channels": channels, "labels": []}


def _steps_per_round(data: ImageData, config: GANConfig) -> int:
    assert config.batch_size is not None
    return max(1, len(data.splits["train"]) // config.batch_size)


def _rounds(data: ImageData, config: GANConfig) -> int:
    """How often an epoch goes round the pictures."""
    return -(-UPDATES // _steps_per_round(data, config))


def _to_tensor(pictures: Pictures) -> Tensor:
    """uint8 (N, S, S, C) -> float (N, C, S, S) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _to_pixels(pictures: Tensor) -> Pictures:
    """float (N, C, S, S) in [-1, 1] -> uint8 (N, S, S, C)."""
    pixels: Pictures = pictures.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


def _slope(logits: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared gradient norm of the logits (B,) by the pictures (B, C, S, S)."""
    (gradient,) = torch.autograd.grad(logits.sum(), pictures, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _mean_probability(discriminator: nn.Module, pictures: Tensor) -> float:
    return float(torch.cat([torch.sigmoid(discriminator(part)) for part in torch.split(pictures, 128)]).mean())
