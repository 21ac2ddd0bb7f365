"""The lecture's one-dimensional GAN: what it learns, draws and exports."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ml import artifact, bundle
from ml.artifact import ArtifactError
from ml.data import builtin, store
from ml.data.builtin import DENSITIES
from ml.data.numbers import DRAWS
from ml.families import catalog
from ml.families.base import TrainingError
from ml.families.density import figure
from ml.families.density.config import DensityConfig
from ml.families.density.model import BESIDE, Discriminator, Generator
from ml.graph import inspect
from ml.run import Budget, RunDir, RunSpec
from ml.serve.density import Density
from ml.trainer import Interrupted, Trainer
from tests.ml import tiny

STEPS = 400
QUICK = {"learning_rate": 0.004, "ema": 0.95, "discriminator_steps": 1}


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numbers") / "gaussian"
    builtin.ensure("gaussian", folder)
    return folder


def trainer_of(folder: Path, source: Path, **spec: object) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "family": "gan",
        "dataset": "gaussian",
        "budget": Budget(steps=STEPS),
        "config": QUICK | {"evaluations": 2},
    }
    family = catalog.load(catalog.key_for("gan", "number"))
    return Trainer(RunDir(folder), RunSpec.model_validate(values | spec), family, source)


@pytest.fixture(scope="module")
def done(gaussian: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = trainer_of(tmp_path_factory.mktemp("density") / "run", gaussian)
    trainer.fit()
    return trainer


def test_it_draws_near_the_gaussian_and_judges_at_one_half(done: Trainer) -> None:
    first, *_, last = tiny.events(done.run, "metrics")
    assert (first["step"], last["step"]) == (0, STEPS)
    assert last["ks_distance"] < 0.15 < first["ks_distance"]
    metrics = artifact.verify(done.run.artifact).metrics
    assert metrics["split"] == "test"
    assert metrics["d_real"] == pytest.approx(0.5, abs=0.1)
    assert metrics["d_fake"] == pytest.approx(0.5, abs=0.1)


def test_the_figure_is_drawn_from_the_beginning_on(done: Trainer) -> None:
    samples = tiny.events(done.run, "sample")
    assert [event["step"] for event in samples] == [0, STEPS // 2, STEPS]
    pictures = []
    for event in samples:
        with Image.open(done.run.path / event["file"]) as picture:
            assert picture.size == (figure.WIDTH, figure.HEIGHT)
            pictures.append(np.asarray(picture.convert("RGB")).astype(int))
    for pixels in pictures:
        red, green, blue = pixels[92:430].transpose(2, 0, 1)
        assert ((green > red + 80) & (green > blue + 40)).sum() > 500  # what is generated
        assert ((blue > red + 100) & (blue > green + 80)).sum() > 200  # the discriminator
        assert (pixels[92:430].max(-1) < 60).sum() > 500  # the data, dotted
        arrows = pixels[470:540]
        assert ((arrows.max(-1) - arrows.min(-1) < 10) & (arrows.max(-1) < 200)).sum() > 500
    assert (pictures[0] != pictures[-1]).any()
    # one small panel at the beginning, four at the end
    assert (pictures[0][620:, 420:] < 255).sum() == 0
    assert (pictures[-1][620:, 620:] < 255).sum() > 500


def test_the_figure_is_told_in_numbers_too(done: Trainer) -> None:
    first, *_, last = (event["curves"] for event in tiny.events(done.run, "sample"))
    x = np.array(last["x"])
    np.testing.assert_allclose(last["data"], DENSITIES["gaussian"].density(x), atol=1e-4)
    for name in ("data", "generated"):
        assert np.trapezoid(last[name], x) == pytest.approx(1, abs=0.05)
    gaps = [np.trapezoid(np.abs(np.subtract(each["generated"], each["data"])), x) for each in (first, last)]
    assert gaps[1] < 0.5 * gaps[0]
    assert len(last["discriminator"]) == len(x)
    middle = np.array(last["discriminator"])[np.array(last["data"]) > 0.2]
    np.testing.assert_allclose(middle, 0.5, atol=0.25)
    assert len(last["z"]) == len(last["mapped"]) == figure.ARROWS
    assert np.median(last["mapped"]) == pytest.approx(4, abs=0.2)


def test_what_is_generated_first_lies_beside_the_data_and_not_far_away() -> None:
    z, means = torch.from_numpy(builtin_noise(1)), []
    for seed in (1008, 2013, *range(20)):  # of the first two no number fell among the data's
        torch.manual_seed(seed)
        with torch.no_grad():
            means.append((Generator(DensityConfig(), 4.0, 0.5)(z).mean().item() - 4) / 0.5)
    assert max(map(abs, means)) < BESIDE + 0.2
    assert np.median(np.abs(means)) > 0.5  # a class is to see it move


def test_served_numbers_are_the_trained_modules(done: Trainer) -> None:
    predictor = Density.open(done.run.artifact)
    weights = load_file(done.run.artifact / "weights.safetensors")
    config = DensityConfig.model_validate(artifact.read(done.run.artifact).config)
    generator, discriminator = Generator(config), Discriminator(config)
    for part, module in (("generator.", generator), ("discriminator.", discriminator)):
        module.load_state_dict({key.removeprefix(part): w for key, w in weights.items() if key.startswith(part)})
    drawn = predictor.draw(7)
    assert drawn.shape == (DRAWS,)
    assert np.array_equal(drawn, Density.open(done.run.artifact).draw(7))
    assert not np.array_equal(drawn, predictor.draw(8))
    with torch.no_grad():
        z = torch.from_numpy(builtin_noise(7))
        np.testing.assert_allclose(drawn, generator(z).numpy()[:, 0], atol=1e-4)
        realness = torch.sigmoid(discriminator(torch.from_numpy(drawn)[:, None])).numpy()[:, 0]
    np.testing.assert_allclose(predictor.realness(drawn), realness, atol=1e-4)
    chart = predictor.chart(drawn, "seed 7")
    assert chart.shape == (450, 800, 3)
    assert chart.std() > 10


def builtin_noise(seed: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal((DRAWS, 1)).astype(np.float32)


def test_a_version_is_taken_in_as_an_import(done: Trainer) -> None:
    assert bundle.check(done.run.artifact).modality == "number"
    for name in ("generator.onnx", "discriminator.onnx"):
        inspect(done.run.artifact / name)


def test_a_version_without_its_density_does_not_load(done: Trainer) -> None:
    manifest = artifact.read(done.run.artifact)
    with pytest.raises(ArtifactError, match="does not say what the numbers"):
        Density(done.run.artifact, manifest.model_copy(update={"serving": {}}))
    with pytest.raises(ArtifactError, match="draws no single numbers"):
        Density(done.run.artifact, manifest.model_copy(update={"modality": "image"}))


def test_a_resumed_run_tells_the_same_story(done: Trainer, gaussian: Path, tmp_path: Path) -> None:
    interrupted = trainer_of(tmp_path / "run", gaussian)
    tiny.after_step(interrupted, 100, tiny.interrupt)
    with pytest.raises(Interrupted):
        interrupted.fit()
    again = trainer_of(tmp_path / "run", gaussian)
    manifest = again.fit()
    one, other = (trainer.run.artifact / "weights.safetensors" for trainer in (done, again))
    assert one.read_bytes() == other.read_bytes()
    assert manifest.metrics == artifact.read(done.run.artifact).metrics
    last = f"step-{STEPS:012d}.png"
    assert (again.run.preview / last).read_bytes() == (done.run.preview / last).read_bytes()
    story = [round(float(row[0])) for row in again.state.extra["story"]]
    assert story == [0, STEPS // 20, STEPS // 4]


def test_measuring_changes_nothing(done: Trainer) -> None:
    family, state, config, data = done.family, done.state, done.config, done.data
    chances = torch.get_rng_state()
    figures = family.evaluate(state, config, data, "validation")
    assert family.evaluate(state, config, data, "validation") == figures
    assert family.preview(state, config, data) == family.preview(state, config, data)
    assert torch.equal(chances, torch.get_rng_state())
    loaded = family.load(done.run.prepared)
    assert loaded.density == DENSITIES["gaussian"]
    assert set(loaded.splits) == {"train", "validation", "test"}


def test_it_goes_on_from_a_version(done: Trainer, gaussian: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "run", gaussian, base=done.run.artifact, config=QUICK | {"evaluations": 1})
    before = artifact.read(done.run.artifact).metrics["ks_distance"]
    after = trainer.family.evaluate(trainer.state, trainer.config, trainer.data, "test")
    assert after["ks_distance"] == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("objective", ["minimax", "non-saturating"])
def test_both_objectives_move_the_generator_towards_the_data(objective: str, gaussian: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path / "run", gaussian, config=QUICK | {"objective": objective, "evaluations": 1})
    before = trainer.family.evaluate(trainer.state, trainer.config, trainer.data, "test")
    trainer.fit()
    after = trainer.family.evaluate(trainer.state, trainer.config, trainer.data, "test")
    assert after["ks_distance"] < before["ks_distance"]


def test_too_few_or_equal_numbers_are_refused_in_words(tmp_path: Path) -> None:
    family = catalog.load("gan-number")
    info = replace_density(tiny.info("number"))
    for values, words in ((np.arange(10.0), "10 numbers are too few"), (np.zeros(2000), "all the same")):
        folder = tmp_path / words.replace(" ", "-")
        store.write_numbers(folder, info, values.astype(np.float32))
        with pytest.raises(TrainingError, match=words):
            family.prepare(folder, DensityConfig(), tmp_path)


def replace_density(info: store.DatasetInfo) -> store.DatasetInfo:
    return info.model_copy(update={"density": DENSITIES["gaussian"]})


def test_a_figure_of_a_fresh_start_has_no_story_yet() -> None:
    density = DENSITIES["two-peaks"]
    now = figure.Moment(0, np.linspace(-40, 40, len(figure.NOISE)), np.full(figure.CURVE, 0.5))
    numbers = {"ks_distance": 0.5, "d_real": 0.5, "d_fake": 0.5}
    alone = figure.draw(density, [], now, numbers)
    with Image.open(io.BytesIO(alone)) as picture:
        assert picture.mode == "RGB"
    kept = figure.unpack(figure.pack(replace(now, updates=40)))
    assert kept.updates == 40
    np.testing.assert_allclose(kept.mapped, now.mapped, rtol=1e-6)
    assert figure.draw(density, [kept], now, numbers) != alone
