"""The one-dimensional GAN: networks, update, metrics and export."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ml import files
from ml.data import images, store
from ml.data.numbers import DRAWS, Mixture, Numbers, noise
from ml.data.store import Singles
from ml.export import export_onnx
from ml.families.base import Family, Preview, Split, State, TrainingError, load_weights, read_weights
from ml.families.density import figure
from ml.families.density.chain import SLOPE, chain_of
from ml.families.density.config import DensityConfig
from ml.families.density.figure import Moment
from ml.families.optimizers import Adam
from ml.families.schedule import hold_then_decay

LEAST_NUMBERS = 1000
SEEDS: dict[Split, int] = {"train": 1, "validation": 2, "test": 3}  # of what is drawn to be measured
REACH = 2.5  # deviations over which the first bends lie
STEEP_G, STEEP_D = 2.0, 4.0  # slopes of the first layers: two peaks need both steeper than usual
FIRST = 0.6  # share of the usual weights that the last layer begins with
# Deviations of the data between its mean and that of what is generated first, at most. Where the two do not meet, D
# tells them apart for certain, and minimax has no gradient left (Arjovsky and Bottou 2017, arXiv:1701.04862).
BESIDE = 1.5


def _networks(config: DensityConfig, steep: float) -> nn.Sequential:
    """(B, 1) -> (B, 1): hidden layers of leaky rectifiers, whose first bends lie evenly over the normalised data.

    Bends that all start near 0, as the usual zero biases have them, and gentle slopes leave two peaks unlearned.
    """
    first = nn.Linear(1, config.hidden)
    with torch.no_grad():
        signs = torch.randint(0, 2, (config.hidden, 1)) * 2 - 1
        first.weight.copy_(steep * signs * torch.empty(config.hidden, 1).uniform_(0.7, 1.3))
        first.bias.copy_(-first.weight.squeeze(1) * torch.linspace(-REACH, REACH, config.hidden))
    layers: list[nn.Module] = [first]
    for _ in range(config.layers - 1):
        layers += [nn.LeakyReLU(SLOPE), _init(nn.Linear(config.hidden, config.hidden))]
    return nn.Sequential(*layers, nn.LeakyReLU(SLOPE), _init(nn.Linear(config.hidden, 1), FIRST))


def _init(layer: nn.Linear, gain: float = 1.0) -> nn.Linear:
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight.mul_(gain)
    return layer


class Generator(nn.Module):
    """z (B, 1), standard normal -> x (B, 1), in the data's own scale."""

    mean: Tensor
    deviation: Tensor
    updates: Tensor

    def __init__(self, config: DensityConfig, mean: float = 0.0, deviation: float = 1.0) -> None:
        super().__init__()
        self.body = _networks(config, STEEP_G)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))
        self.register_buffer("updates", torch.tensor(0))  # that its weights have seen
        with torch.no_grad():
            begins = self.body(torch.special.ndtri(torch.linspace(0.005, 0.995, 100))[:, None]).mean()
            cast(nn.Linear, self.body[-1]).bias.add_(begins.clamp(-BESIDE, BESIDE) - begins)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.scaled(self.body(z))
        return out

    def scaled(self, out: Tensor) -> Tensor:
        """What the body gives, in the data's own scale."""
        return self.mean + self.deviation * out


class Discriminator(nn.Module):
    """x (B, 1), in the data's own scale -> logits (B, 1) that it is real. It sees the data normalised."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: DensityConfig, mean: float = 0.0, deviation: float = 1.0) -> None:
        super().__init__()
        self.body = _networks(config, STEEP_D)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(self.normalised(x))
        return out

    def normalised(self, x: Tensor) -> Tensor:
        """What the body sees."""
        return (x - self.mean) / self.deviation


@dataclass(frozen=True)
class NumberData:
    """Numbers of each split, float32 (N,), and what they were drawn from."""

    splits: dict[str, Singles]
    density: Mixture


class DensityFamily(Family[DensityConfig, NumberData]):
    """Goodfellow et al. 2014 (arXiv:1406.2661), figure 1, on real numbers; the averaged generator is the one drawn
    from (Yazıcı et al. 2019, arXiv:1806.04498), and the learning rate goes to 0 so that the game ends at D = 1/2."""

    def prepare(self, source: Path, config: DensityConfig, into: Path, base: Path | None = None) -> NumberData:
        numbers, density = store.read_numbers(source)
        if len(numbers) < LEAST_NUMBERS:
            raise TrainingError(f"{len(numbers)} numbers are too few for a GAN; give it at least {LEAST_NUMBERS:,}")
        if not np.isfinite(numbers).all() or float(numbers.std()) == 0:
            raise TrainingError("the numbers are all the same, or not finite; a GAN learns from differences")
        for name, part in zip(("train", "validation", "test"), images.split(len(numbers)), strict=True):
            np.save(into / f"{name}.npy", numbers[part])
        files.write_json(into / "density.json", density.model_dump())
        return self.load(into)

    def load(self, prepared: Path) -> NumberData:
        splits = {path.stem: np.load(path, allow_pickle=False) for path in sorted(prepared.glob("*.npy"))}
        return NumberData(splits, Mixture.model_validate_json((prepared / "density.json").read_bytes()))

    def build(self, config: DensityConfig, data: NumberData, device: torch.device) -> State:
        train = data.splits["train"]
        scale = float(train.mean()), float(train.std())
        generator = Generator(config, *scale).to(device)
        discriminator = Discriminator(config, *scale).to(device)
        average = deepcopy(generator).requires_grad_(False)

        def adam(module: nn.Module) -> torch.optim.Optimizer:
            return Adam(module.parameters(), betas=(config.beta1, config.beta2), fused=True)

        return State(
            {"generator": generator, "discriminator": discriminator, "average": average},
            {"generator": adam(generator), "discriminator": adam(discriminator)},
            device,
        )

    def start_from(self, state: State, data: NumberData, base: Path) -> None:
        """Both generators start from the averaged one, the only one that a version holds. The scale is the base's."""
        weights = read_weights(base)
        sources = {"generator": "generator.", "average": "generator.", "discriminator": "discriminator."}
        for module, part in sources.items():
            kept = {name.removeprefix(part): w for name, w in weights.items() if name.startswith(part)}
            load_weights(state.modules[module], kept)

    def steps_per_epoch(self, data: NumberData, config: DensityConfig) -> int:
        return max(1, len(data.splits["train"]) // _taken(config))

    def batches(self, data: NumberData, config: DensityConfig, seed: int, epoch: int, start: int) -> Iterator[Tensor]:
        train = data.splits["train"]
        for part in images.shuffled_batches(len(train), _taken(config), seed, epoch, start):
            yield torch.from_numpy(train[part])[:, None]

    @torch.no_grad()
    def train_step(self, state: State, config: DensityConfig, data: NumberData, batch: Any) -> dict[str, Tensor]:
        generator, average = cast(Generator, state.modules["generator"]), cast(Generator, state.modules["average"])
        discriminator = cast(Discriminator, state.modules["discriminator"])
        self._remember(state, data)
        optimizer_g, optimizer_d = (cast(Adam, state.optimizers[name]) for name in ("generator", "discriminator"))
        rate = config.learning_rate * hold_then_decay(state.progress, config.hold)
        optimizer_g.param_groups[0]["lr"], optimizer_d.param_groups[0]["lr"] = rate, config.discriminator_rate * rate

        g, d = chain_of(generator.body), chain_of(discriminator.body)
        real = batch.to(state.device)
        fake = generator.scaled(g.forward(torch.randn_like(real))[0])  # for all updates of D: G stands still meanwhile
        parts = (discriminator.normalised(given).chunk(config.discriminator_steps) for given in (real, fake))
        for pair in zip(*parts, strict=True):
            logits, inputs = d.forward(torch.cat(pair))
            slope = torch.sigmoid(logits)  # of -E[log(1 - D(G(z)))], and less 1 of -E[log D(x)]
            slope[: len(pair[0])] -= 1
            optimizer_d.step_with(d.backward(inputs, slope / len(pair[0])))
        d_real, d_fake = logits.chunk(2)
        loss_d = F.softplus(-d_real).mean() + F.softplus(d_fake).mean()

        out, inputs_g = g.forward(torch.randn_like(pair[0]))
        d_fake, inputs_d = d.forward(discriminator.normalised(generator.scaled(out)))
        if config.objective == "minimax":  # minimise E[log(1 - D(G(z)))]
            loss_g, slope = -F.softplus(d_fake).mean(), -torch.sigmoid(d_fake)
        else:  # non-saturating: minimise -E[log D(G(z))]
            loss_g, slope = F.softplus(-d_fake).mean(), -torch.sigmoid(-d_fake)
        scale = generator.deviation / discriminator.deviation
        optimizer_g.step_with(g.backward(inputs_g, d.to_input(inputs_d, slope / len(slope)) * scale))

        torch._foreach_lerp_(chain_of(average.body).parameters, g.parameters, 1 - config.ema)
        generator.updates.add_(1)
        average.updates.add_(1)
        return {"loss_d": loss_d, "loss_g": loss_g}

    @torch.no_grad()
    def evaluate(self, state: State, config: DensityConfig, data: NumberData, split: Split) -> dict[str, float]:
        drawn = self._draw(state, split)
        real = torch.from_numpy(data.splits[split])[:, None]
        return {
            "ks_distance": data.density.ks_distance(drawn.numpy()[:, 0]),
            "d_real": self._probability(state, real).mean().item(),
            "d_fake": self._probability(state, drawn).mean().item(),
        }

    def preview(self, state: State, config: DensityConfig, data: NumberData) -> Preview:
        figures = self.evaluate(state, config, data, "validation")
        story = [figure.unpack(kept) for kept in state.extra.get("story", torch.empty(0)).cpu().numpy()]
        now = self._moment(state, data)
        return Preview(
            png=figure.draw(data.density, story, now, figures), detail={"curves": figure.curves(data.density, now)}
        )

    @torch.no_grad()
    def _draw(self, state: State, split: Split) -> Tensor:
        """The averaged generator's numbers for the noise that belongs to a split: (DRAWS, 1), on the CPU."""
        drawn: Tensor = state.modules["average"](torch.from_numpy(noise(SEEDS[split], DRAWS)).to(state.device)).cpu()
        return drawn

    @torch.no_grad()
    def _probability(self, state: State, x: Tensor) -> Tensor:
        return torch.sigmoid(state.modules["discriminator"](x.to(state.device))).cpu()

    @torch.no_grad()
    def _moment(self, state: State, data: NumberData) -> Moment:
        """What a figure needs to know of the networks as they are now."""

        def of(module: str, values: Numbers) -> Numbers:
            given = torch.from_numpy(values.astype(np.float32))[:, None].to(state.device)
            out: Numbers = state.modules[module](given).cpu().numpy()[:, 0].astype(np.float64)
            return out

        x = figure.places(data.density)
        updates = int(state.modules["average"].get_buffer("updates"))
        return Moment(updates, of("average", figure.NOISE), 1 / (1 + np.exp(-of("discriminator", x))))

    def _remember(self, state: State, data: NumberData) -> None:
        """Keep the moments at which a further part of the budget is used up: the figure's small panels."""
        story = state.extra.get("story")
        have = 0 if story is None else len(story)
        if have < figure.PANELS - 1 and state.progress >= figure.SHARES[have]:
            row = torch.from_numpy(figure.pack(self._moment(state, data)))[None]
            state.extra["story"] = row if story is None else torch.cat([story.cpu(), row])

    def has_held_out(self, data: NumberData) -> bool:
        return True

    def scored_on(self, config: DensityConfig, data: NumberData) -> str:
        return f"{DRAWS} draws"

    def export(self, state: State, config: DensityConfig, data: NumberData, into: Path) -> dict[str, Any]:
        generator, discriminator = state.modules["average"].cpu().eval(), state.modules["discriminator"].cpu().eval()
        tensors = {
            f"{part}.{name}": tensor.contiguous()
            for part, module in {"generator": generator, "discriminator": discriminator}.items()
            for name, tensor in module.state_dict().items()
        }
        save_file(tensors, into / "weights.safetensors")
        column = torch.zeros(2, 1)
        export_onnx(generator, (column,), into / "generator.onnx", ["z"], ["number"], [{0: "batch"}])
        export_onnx(discriminator, (column,), into / "discriminator.onnx", ["number"], ["logit"], [{0: "batch"}])
        return {"density": data.density.model_dump(mode="json")}


def _taken(config: DensityConfig) -> int:
    """Real numbers that one step of the loop takes."""
    return config.batch_size * config.discriminator_steps
