"""The GAN: the lecture's objective, the averaged generator, and what pictures it takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from ml import artifact
from ml.data import builtin, images, store
from ml.data.store import DatasetInfo
from ml.families import catalog
from ml.families.base import State, TrainingError
from ml.families.gan.config import GAN, SIZES, GANConfig, resolve
from ml.families.gan.model import PREVIEW_SEEDS, Discriminator, GANFamily, Generator, ImageData, _to_pixels
from ml.families.gan.networks import Enlarging
from ml.run import Budget
from ml.serve import images as serving
from tests.ml import tiny
from tests.ml.tiny import differences

CPU = torch.device("cpu")


def info(height: int, width: int, channels: int) -> DatasetInfo:
    counts = {"pictures": 100, "height": height, "width": width, "channels": channels}
    return tiny.info("image").model_copy(update={"counts": counts})


@pytest.mark.parametrize(("channels", "size"), [([8, 8], 28), ([8, 8, 8], 32), ([8] * 5, 32)])
def test_the_size_that_is_chosen_is_one_that_the_layers_fit(channels: list[int], size: int) -> None:
    config = resolve(GAN.config("auto", {"channels": channels}), info(28, 28, 1))
    assert (config.size, config.channels) == (size, channels)


def prepared(source: Path, into: Path, **values: Any) -> tuple[GANFamily, GANConfig, ImageData]:
    family = catalog.load("gan")
    assert isinstance(family, GANFamily)
    config = resolve(GAN.config("auto", tiny.CONFIGS["gan"] | values), store.read_info(source))
    into.mkdir(exist_ok=True)
    return family, config, family.prepare(source, config, into)


def built(family: GANFamily, config: GANConfig, data: ImageData, seed: int = 0) -> State:
    torch.manual_seed(seed)
    state = family.build(config, data, CPU)
    state.progress = 0.1  # behind the warm-up, before the decay: the rate is the one of the config
    return state


# -- the objective ---------------------------------------------------------------------------------------------------


def lecture(real: Tensor, fake: Tensor) -> Tensor:
    """-V(D, G): what is maximised over D."""
    return -(torch.log(torch.sigmoid(real)).mean() + torch.log(1 - torch.sigmoid(fake)).mean())


# Each objective as its paper writes it, of the logits of real and drawn pictures.
FOR_D = {
    "minimax": lecture,
    "non-saturating": lecture,
    "hinge": lambda real, fake: -(torch.clamp(real - 1, max=0).mean() + torch.clamp(-fake - 1, max=0).mean()),
    "relativistic": lambda real, fake: -torch.log(torch.sigmoid(real - fake)).mean(),
}
FOR_G = {
    "minimax": lambda real, fake: torch.log(1 - torch.sigmoid(fake)).mean(),
    "non-saturating": lambda real, fake: -torch.log(torch.sigmoid(fake)).mean(),
    "hinge": lambda real, fake: -fake.mean(),
    "relativistic": lambda real, fake: -torch.log(torch.sigmoid(fake - real)).mean(),
}


def written_out(state: State, config: GANConfig, batches: list[Tensor], chance: Tensor) -> list[tuple[float, float]]:
    """The objective as it is written, for some updates, from the weights of `state` and the same chance."""
    generator, discriminator = Generator(config), Discriminator(config)
    generator.load_state_dict(state.modules["generator"].state_dict())
    discriminator.load_state_dict(state.modules["discriminator"].state_dict())
    rates = {"lr": config.learning_rate, "betas": (config.beta1, config.beta2)}
    for_d = torch.optim.Adam(discriminator.parameters(), **rates)
    for_g = torch.optim.Adam(generator.parameters(), **rates)
    torch.set_rng_state(chance)
    told = []
    for x in batches:
        fake = generator(torch.randn(len(x), config.latent))
        before = discriminator(x)
        for_d.zero_grad()
        loss_d = FOR_D[config.objective](before, discriminator(fake.detach()))
        loss_d.backward()
        for_d.step()
        loss_g = FOR_G[config.objective](before.detach(), discriminator(fake))
        for_g.zero_grad()
        loss_g.backward()
        for_g.step()
        told.append((float(loss_d.detach()), float(loss_g.detach())))
    return told


@pytest.mark.parametrize("objective", FOR_D)
def test_the_losses_are_the_formulas(objective: str, sources: dict[str, Path], tmp_path: Path) -> None:
    family, config, data = prepared(sources["gan"], tmp_path / "p", objective=objective, penalty=0.0, augment=0.0)
    state = built(family, config, data)
    batches = list(family.batches(data, config, 0, 0, 0))[:6]  # rounding grows with every update
    chance = torch.get_rng_state()
    theirs = written_out(state, config, [pictures for pictures, _ in batches], chance)
    torch.set_rng_state(chance)
    ours = []
    for batch in batches:
        losses = family.train_step(state, config, data, batch)
        state.step += 1
        ours.append((float(losses["loss_d"]), float(losses["loss_g"])))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    if objective in ("minimax", "non-saturating"):
        assert all((loss_g < 0) == (objective == "minimax") for _, loss_g in ours)


def test_the_minimax_preset_is_the_objective_as_written() -> None:
    assert GAN.config("minimax", {}).objective == "minimax"
    assert GAN.config("auto", {}).objective == "non-saturating"


def test_the_penalty_pulls_at_the_discriminator_every_few_updates(sources: dict[str, Path], tmp_path: Path) -> None:
    family, config, data = prepared(sources["gan"], tmp_path / "p", penalty_every=2)
    (batch, *_) = family.batches(data, config, 0, 0, 0)

    def gradients(step: int, penalty: float) -> list[Tensor | None]:
        state = built(family, config, data)
        state.step = step
        family.train_step(state, config.model_copy(update={"penalty": penalty}), data, batch)
        return [p.grad for p in state.modules["discriminator"].parameters()]

    assert differences(gradients(0, 1.0), gradients(0, 0.0)) != []
    assert differences(gradients(1, 1.0), gradients(1, 0.0)) == []
    assert differences(gradients(2, 1.0), gradients(2, 0.0)) != []


def test_the_penalty_flattens_the_discriminator(sources: dict[str, Path], tmp_path: Path) -> None:
    family, config, data = prepared(sources["gan"], tmp_path / "p", penalty_every=1)
    batches = list(family.batches(data, config, 0, 0, 0))

    def steepness(penalty: float) -> float:
        state = built(family, config, data)
        for batch in 2 * batches:
            family.train_step(state, config.model_copy(update={"penalty": penalty}), data, batch)
            state.step += 1
        pictures = batches[0][0].clone().requires_grad_()
        (slope,) = torch.autograd.grad(state.modules["discriminator"](pictures).sum(), pictures)
        return float(slope.square().sum())

    assert steepness(10.0) < 0.5 * steepness(0.0)


def test_the_average_follows_the_generator(sources: dict[str, Path], tmp_path: Path) -> None:
    family, config, data = prepared(sources["gan"], tmp_path / "p", ema=0.9)
    state = built(family, config, data)
    before = {name: p.clone() for name, p in state.modules["average"].state_dict().items()}
    assert differences(before, dict(state.modules["generator"].state_dict())) == []
    (batch, *_) = family.batches(data, config, 0, 0, 0)
    family.train_step(state, config, data, batch)
    for name, new in state.modules["generator"].state_dict().items():
        torch.testing.assert_close(state.modules["average"].state_dict()[name], 0.9 * before[name] + 0.1 * new)


def test_mean_answers_of_the_discriminator_are_told_at_every_evaluation(finished: Any) -> None:
    points = tiny.events(finished("gan").run, "metrics")
    assert len(points) == tiny.EVALUATIONS
    for point in points:
        assert 0 < point["d_real"] < 1
        assert 0 < point["d_fake"] < 1
        assert {"loss_d", "loss_g", "frechet_distance", "precision", "recall", "coverage"} <= point.keys()
        assert {"near_copies", "spread"} <= point.keys()


def test_the_test_part_has_the_floor_beside_the_distance(finished: Any) -> None:
    metrics = finished("gan").manifest.metrics
    assert 0 < metrics["frechet_floor"] < metrics["frechet_distance"]
    for name in ("precision", "recall", "density", "coverage", "near_copies"):
        assert 0 <= metrics[name] <= max(1, metrics["density"])
        assert metrics[f"{name}_floor"] >= 0
    assert metrics["coverage_floor"] >= metrics["coverage"]


# -- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colour", [True, False])
def test_every_size_and_colour_is_drawn_and_judged(size: int, colour: bool) -> None:
    config = resolve(GANConfig(size=size, colour=colour, latent=4), info(8, 8, 1))  # type: ignore[arg-type]
    with torch.no_grad():
        pictures = Generator(config)(torch.randn(2, 4))
        logits = Discriminator(config)(pictures)
    assert pictures.shape == (2, 3 if colour else 1, size, size)
    assert float(pictures.abs().max()) <= 1
    assert logits.shape == (2,)


def test_enlarging_is_nearest_neighbour_upsampling_and_a_convolution() -> None:
    layer, x = Enlarging(5, 3), torch.randn(2, 5, 7, 7)
    enlarged = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
    theirs = torch.nn.functional.conv2d(enlarged, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), theirs, rtol=1e-4, atol=1e-4)


def test_one_picture_is_judged_by_itself(finished: Any) -> None:
    discriminator = finished("gan").trainer.state.modules["discriminator"].eval()
    pictures = torch.randn(4, 1, 28, 28)
    with torch.no_grad():
        together = discriminator(pictures)
        alone = torch.cat([discriminator(picture[None]) for picture in pictures])
    torch.testing.assert_close(together, alone)
    assert float(discriminator.deviation) > 0


def test_the_hidden_layer_sees_places_together_which_without_it_are_added_up() -> None:
    here, there = torch.zeros(2, 1, 1, 28, 28)
    here[..., :4, :4], there[..., -4:, -4:] = 1.0, 1.0

    def together(hidden: int) -> float:
        torch.manual_seed(0)
        judge = Discriminator(resolve(GANConfig(hidden=hidden), info(28, 28, 1))).eval()
        with torch.no_grad():
            nothing, one, other, both = judge(torch.cat([0 * here, here, there, here + there]))
        return abs(float(both - one - other + nothing))

    assert together(0) < 1e-5 < 1e-3 < together(32)


def test_a_version_from_before_the_hidden_layer_is_taken_further_without_one() -> None:
    starter = Path(__file__).parents[3] / "app" / "starters" / "pictures"
    older = {name: value for name, value in artifact.read(starter).config.items() if name != "hidden"}
    assert GAN.settle("auto", {}, info(28, 28, 1), older).hidden == 0
    assert resolve(GANConfig.model_validate(older), info(28, 28, 1)).hidden == 0  # as it is evaluated


@pytest.mark.parametrize(("channels", "hidden"), [(1, 128), (3, 0)])
def test_gray_pictures_have_dense_layers_unless_said_otherwise(channels: int, hidden: int) -> None:
    assert [GAN.settle(name, {}, info(28, 28, channels)).hidden for name in GAN.presets] == 3 * [hidden]
    assert GAN.settle("auto", {"hidden": 32}, info(28, 28, channels)).hidden == 32


def test_in_training_the_discriminator_sees_a_collapse() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(GANConfig(size=28, colour=False, channels=[8, 4]))
    varied = torch.randn(8, 1, 28, 28)
    with torch.no_grad():
        nn.init.zeros_(discriminator.head.weight[:, : 8 * 49])  # what is left sees the batch's deviation alone
        assert float(discriminator(varied).std()) == pytest.approx(0, abs=1e-6)
        assert not torch.allclose(discriminator(varied)[:1], discriminator(varied[:1].repeat(8, 1, 1, 1))[:1])


# -- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "channels", "size", "colour"),
    [
        (28, 28, 1, 28, False),
        (20, 28, 1, 28, False),
        (64, 64, 3, 32, True),
        (28, 28, 3, 32, True),
        (64, 20, 1, 32, False),
    ],
)
def test_size_and_colour_are_chosen_from_the_pictures(
    height: int, width: int, channels: int, size: int, colour: bool
) -> None:
    config = resolve(GANConfig(), info(height, width, channels))
    assert (config.size, config.colour) == (size, colour)
    assert config.channels is not None
    assert size % 2 ** len(config.channels) == 0


@pytest.mark.parametrize(
    ("side", "minutes", "values", "size"),
    [
        (64, 15, {}, 64),
        (64, 14, {}, 32),
        (128, 60, {}, 64),
        (48, 60, {}, 32),
        (64, 60, {"size": 48}, 48),
        (64, None, {}, 32),  # the preset's four minutes
    ],
)
def test_with_the_time_for_it_large_pictures_stay_large(
    side: int, minutes: float | None, values: dict[str, Any], size: int
) -> None:
    assert GAN.settle("auto", values, info(side, side, 3), None, Budget(minutes=minutes)).size == size


@pytest.mark.parametrize(
    ("pictures", "strength"), [(50, 0.6), (200, 0.6), (625, 0.6), (1250, 0.4), (2500, 0), (5000, 0)]
)
def test_few_pictures_are_augmented_the_more_the_fewer_they_are(pictures: int, strength: float) -> None:
    about = tiny.info("image").model_copy(update={"counts": {"pictures": pictures, "height": 28, "width": 28}})
    assert resolve(GANConfig(), about).augment == strength
    assert resolve(GANConfig(augment=0.7), about).augment == 0.7


def test_the_fewer_are_held_out_the_more_is_chance() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (600, 28, 28, 1), np.uint8)
    many, few = (ImageData({"train": pictures[200:], "validation": pictures[:count]}) for count in (200, 20))
    family = GANFamily(GAN)
    assert 0 < family.chance(many) < family.chance(few) / 3


def test_pictures_in_the_order_of_their_classes_are_compared_from_all_of_them() -> None:
    levels = np.repeat(np.arange(10, dtype=np.uint8) * 25, 300)[:, None, None, None]
    data = ImageData({"train": np.tile(levels, (1, 28, 28, 1)), "validation": np.tile(levels, (1, 28, 28, 1))})
    assert len(data.reference("validation").pictures.unique()) == 10  # of 3,000, more than are looked at
    assert data.floor < 1e-3


@pytest.mark.parametrize("pictures", [50, 120, 200, 201, 375, 399, 500, 795, 800, 5000, 100_000])
def test_the_batch_gives_twenty_updates_an_epoch_as_far_as_there_are_pictures(pictures: int) -> None:
    about = tiny.info("image").model_copy(update={"counts": {"pictures": pictures, "height": 9, "width": 9}})
    config = resolve(GANConfig(), about)
    assert config.batch_size is not None
    train = len(images.split(pictures)[0])
    assert 8 <= config.batch_size <= 32
    assert config.batch_size == 8 or train // config.batch_size >= 20
    assert config.batch_size == 32 or train // (config.batch_size + 1) < 20  # no smaller than it must be
    assert config.learning_rate == pytest.approx(1e-3 * config.batch_size / 32)  # follows it


@pytest.mark.parametrize(
    ("pictures", "batch_size", "rounds"), [(50, None, 4), (160, None, 2), (50, 40, 20), (1000, 32, 1)]
)
def test_an_epoch_goes_round_few_pictures_until_it_has_twenty_updates(
    pictures: int, batch_size: int | None, rounds: int
) -> None:
    about = tiny.info("image").model_copy(update={"counts": {"pictures": pictures, "height": 28, "width": 28}})
    config = resolve(GANConfig(batch_size=batch_size), about)
    assert config.batch_size is not None
    count = len(images.split(pictures)[0])
    numbered = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    data, family = ImageData({"train": numbered}), GANFamily(GAN)
    batches = [batch.flatten() for batch, _ in family.batches(data, config, 1, 3, 0)]
    assert len(batches) == family.steps_per_epoch(data, config) == rounds * (count // config.batch_size) >= 20
    for start in (1, len(batches) // 2, len(batches) - 1):  # a run that resumes sees the rest
        rest = [batch.flatten() for batch, _ in family.batches(data, config, 1, 3, start)]
        assert torch.equal(torch.cat(rest), torch.cat(batches[start:]))


def test_a_batch_or_rate_asked_for_is_kept() -> None:
    few = info(28, 28, 1)
    asked = [GANConfig(batch_size=3), GANConfig(learning_rate=0.01), GANConfig(batch_size=64, learning_rate=0.01)]
    chosen = [(config.batch_size, config.learning_rate) for config in (resolve(config, few) for config in asked)]
    assert chosen == [(3, 1e-3), (8, 0.01), (64, 0.01)]


def test_the_presets_keep_their_batch_for_the_data_sets_that_come_along(datasets: Path) -> None:
    mnist = builtin.ensure("mnist", datasets / "mnist")
    for about in (mnist, builtin.BUILTIN["faces"].info):  # made, and not made yet
        assert [GAN.resolve(GAN.config(name, {}), about).batch_size for name in GAN.presets] == [32] * len(GAN.presets)


def test_what_was_chosen_by_hand_stays() -> None:
    config = resolve(GANConfig(size=48, colour=False, channels=[8]), info(64, 64, 3))
    assert (config.size, config.colour, config.channels) == (48, False, [8])


@pytest.mark.parametrize(
    "values",
    [
        {"size": 28, "channels": [8, 8, 8]},
        {"size": 64, "channels": [0]},
        {"size": 64, "channels": [1025]},
        {"size": 64, "channels": []},
        {"size": 30},
        {"objective": "wasserstein"},
    ],
)
def test_layers_that_do_not_fit_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GANConfig.model_validate(values)


def test_too_few_pictures_are_refused_with_the_least(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="49 pictures are too few for a GAN; give it at least 50"):
        prepared(tiny.write_images(tmp_path / "set", tiny.discs(49)), tmp_path / "p")


def test_fifty_pictures_are_enough_and_split(tmp_path: Path) -> None:
    _, _, data = prepared(tiny.write_images(tmp_path / "set", tiny.discs(50)), tmp_path / "p")
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 40, "validation": 5, "test": 5}


def test_pictures_are_resized_and_made_gray_or_colour(tmp_path: Path) -> None:
    source = tiny.write_images(tmp_path / "set", tiny.discs(50, size=64, channels=3))
    _, _, data = prepared(source, tmp_path / "p", size=32, colour=False)
    assert data.splits["train"].shape == (40, 32, 32, 1)


def test_a_batch_is_the_pictures_in_minus_1_to_1(sources: dict[str, Path], tmp_path: Path) -> None:
    family, config, data = prepared(sources["gan"], tmp_path / "p")
    ((batch, _), *_) = family.batches(data, config, 0, 0, 0)
    assert batch.shape == (16, 1, 28, 28)
    assert (float(batch.min()), float(batch.max())) == (-1.0, pytest.approx(1, abs=0.1))
    pixels = _to_pixels(batch)
    assert all(any(np.array_equal(picture, known) for known in data.splits["train"]) for picture in pixels)


def test_previews_and_answers_round_alike() -> None:
    values = torch.linspace(-1.02, 1.02, 28 * 28 * 3).view(1, 3, 28, 28)
    np.testing.assert_array_equal(_to_pixels(values)[0], serving.to_pixels(values.numpy()))


def test_pictures_that_are_all_the_same_are_refused_in_plain_words(tmp_path: Path) -> None:
    source = tiny.write_images(tmp_path / "set", np.full((60, 28, 28, 1), 128, np.uint8))
    run = tiny.new_run(tmp_path / "run", "gan", budget={"steps": 4})
    with pytest.raises(TrainingError, match="same"):
        tiny.finish(run, source)


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_the_sample_is_a_grid_of_the_first_seeds_by_the_published_generator(finished: Any) -> None:
    done = finished("gan")
    with Image.open(done.run.artifact / "samples" / "grid.png") as grid:
        assert grid.size == (6 * 30 + 2, 6 * 30 + 2)
        sheet = np.asarray(grid)
    sampler = serving.Sampler.open(done.run.artifact)
    for seed in range(1, PREVIEW_SEEDS + 1):
        top, left = 2 + (seed - 1) // 6 * 30, 2 + (seed - 1) % 6 * 30
        drawn = serving.to_pixels(sampler.draw(seed))[:, :, 0].astype(int)
        assert abs(sheet[top : top + 28, left : left + 28] - drawn).max() <= 1


def test_a_sample_is_kept_at_every_evaluation(finished: Any) -> None:
    done = finished("gan")
    samples = tiny.events(done.run, "sample")
    assert [sample["step"] for sample in samples] == [24, 48, 72, 96]
    pictures = [(done.run.path / sample["file"]).read_bytes() for sample in samples]
    assert len(set(pictures)) == 4
