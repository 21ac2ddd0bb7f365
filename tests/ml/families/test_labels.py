"""A GAN of pictures with classes: what it counts of them, and how one is asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from ml.data import store
from ml.families.base import TrainingError
from ml.families.gan.config import GAN, GANConfig, resolve
from ml.families.gan.evaluation import Known, thumbnails
from ml.families.gan.networks import Discriminator, Generator
from ml.latents import latent
from tests.ml import tiny
from tests.ml.tiny import Finished

NAMES = ["empty", "disc"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 discs and 30 nearly black pictures, mixed."""
    pictures = tiny.discs(120)
    labels = np.array([0, 1, 1, 1] * 30)
    pictures[labels == 0] //= 16
    folder = tmp_path_factory.mktemp("labelled") / "set"
    store.write_images(folder, tiny.info("image").model_copy(update={"classes": NAMES}), pictures, labels)
    return folder


@pytest.fixture(scope="module")
def conditional(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    run = tiny.new_run(
        tmp_path_factory.mktemp("conditional"),
        "gan",
        budget={"steps": 150},
        config={"labels": True, "augment": 0, "evaluations": 2},
    )
    return tiny.finish(run, source)


def test_the_class_asked_for_is_the_one_that_is_drawn(conditional: Finished) -> None:
    session = onnxruntime.InferenceSession(conditional.run.artifact / "generator.onnx")
    assert {(i.name, tuple(i.shape), i.type) for i in session.get_inputs()} == {
        ("z", (1, 8), "tensor(float)"),
        ("label", (1,), "tensor(int64)"),
    }
    assert conditional.manifest.serving["labels"] == NAMES

    def brightness(label: int) -> float:
        inputs = [{"z": latent(seed, 8)[None], "label": np.array([label])} for seed in range(20)]
        return float(np.mean([session.run(None, each)[0] for each in inputs]))

    assert brightness(1) > brightness(0) + 0.05


def test_both_exported_networks_answer_as_the_trained_ones(conditional: Finished) -> None:
    folder, config = conditional.run.artifact, GANConfig.model_validate(conditional.manifest.config)
    weights = load_file(folder / "weights.safetensors")
    for module, first in ((Generator(config), torch.randn(1, 8)), (Discriminator(config), torch.randn(1, 1, 28, 28))):
        part = type(module).__name__.lower()
        module.load_state_dict({k.removeprefix(f"{part}."): w for k, w in weights.items() if k.startswith(f"{part}.")})
        session = onnxruntime.InferenceSession(folder / f"{part}.onnx")
        name = session.get_inputs()[0].name
        answers = []
        for label in (0, 1):
            (served,) = session.run(None, {name: first.numpy(), "label": np.array([label])})
            with torch.no_grad():
                np.testing.assert_allclose(served, module.eval()(first, torch.tensor([label])), atol=1e-4)
            answers.append(served)
        assert not np.allclose(*answers)


def test_class_shares_are_told_at_every_evaluation(conditional: Finished, source: Path, tmp_path: Path) -> None:
    plain = tiny.finish(tiny.new_run(tmp_path, "gan", budget={"steps": 2}, config={"evaluations": 1}), source)
    for done in (conditional, plain):
        for point in [*tiny.events(done.run, "metrics"), done.manifest.metrics]:
            assert point["share_empty"] + point["share_disc"] == pytest.approx(1)
            assert 0 <= point["least_share"] <= 1
    assert plain.manifest.serving["labels"] == []
    assert plain.manifest.config["classes"] == 0


def known(train: torch.Tensor, labels: Any, classes: list[str]) -> Known:
    return Known(thumbnails(train), thumbnails(torch.randn(20, 1, 28, 28)), labels, classes)


def test_shares_are_those_of_the_nearest_training_pictures() -> None:
    torch.manual_seed(0)
    train = torch.randn(40, 1, 28, 28)
    labels = np.array([0, 1] * 20)
    told = known(train, labels, ["a", "b"]).figures(train[[0, 2, 4, 1]] + 0.001)
    assert told == {"near_copies": 1.0, "share_a": 0.75, "share_b": 0.25, "least_share": 0.5}
    assert known(train, None, []).figures(train[:2]) == {"near_copies": 1.0}


def test_of_many_classes_only_the_least_is_told() -> None:
    train = torch.randn(30, 1, 28, 28)
    told = known(train, np.arange(30), [str(i) for i in range(30)]).figures(train)
    assert told == {"near_copies": 1.0, "least_share": 1.0}


def test_classes_are_learned_only_when_asked_for() -> None:
    info = tiny.info("image").model_copy(update={"classes": NAMES, "counts": {"pictures": 100}})
    assert [resolve(GANConfig(labels=labels), info).classes for labels in (False, True)] == [0, 2]
    assert {"labels", "classes"} <= set(GAN.architecture)


def test_pictures_without_classes_have_none_to_learn(sources: dict[str, Path], tmp_path: Path) -> None:
    run = tiny.new_run(tmp_path, "gan", config={"labels": True})
    with pytest.raises(TrainingError, match="no classes to learn; send them in folders"):
        tiny.new_trainer(run, sources["gan"])
