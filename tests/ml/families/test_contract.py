"""What every family promises, and what each must therefore be able to do. A new family needs an entry in each table."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from ml import artifact, checkpoint
from ml.data import text
from ml.data.numbers import noise
from ml.families import catalog
from ml.families.catalog import IMPLEMENTATIONS
from ml.families.density.config import DensityConfig
from ml.families.density.model import Discriminator as NumberDiscriminator
from ml.families.density.model import Generator as NumberGenerator
from ml.families.gan.config import GANConfig
from ml.families.gan.model import Discriminator, Generator
from ml.families.lstm.config import LSTMConfig
from ml.families.lstm.network import WordLSTM
from ml.latents import latent
from ml.serve.density import Density
from ml.serve.images import Sampler
from ml.serve.text import NextWord
from ml.trainer import BEST, Interrupted
from tests.ml import tiny
from tests.ml.tiny import Finished, differences

pytestmark = pytest.mark.parametrize("name", IMPLEMENTATIONS)
Finish = Callable[[str], Finished]


# -- learning --------------------------------------------------------------------------------------------------------


def numbers(folder: Path) -> Path:
    return tiny.write_dataset(folder, "number")


def rhyme(folder: Path) -> Path:
    return tiny.write_text(folder, 3 * tiny.RHYME)


def few_discs(folder: Path) -> Path:
    return tiny.write_images(folder, tiny.discs(60))


# What to learn by heart, with what, and the figure on the training part that says it was learned.
BY_HEART: dict[str, tuple[Callable[[Path], Path], dict[str, Any], int, Callable[[dict[str, float]], bool]]] = {
    "lstm": (
        rhyme,
        {"layers": 1, "dropout": 0.0, "dropout_hidden": 0.0, "batch_size": 2, "length": 8, "negatives": 0},
        150,
        lambda figures: figures["perplexity"] < 1.5 and figures["top1"] > 0.9,
    ),
    "gan": (few_discs, {}, 150, lambda figures: figures["frechet_distance"] < 2),
    "gan-number": (numbers, {}, 150, lambda figures: figures["ks_distance"] < 0.25),
}


def test_it_learns_a_tiny_set_by_heart(name: str, tmp_path: Path) -> None:
    make, config, steps, learned = BY_HEART[name]
    run = tiny.new_run(tmp_path / "run", name, config=config, budget={"steps": steps})
    trainer = tiny.new_trainer(run, make(tmp_path / "set"))
    before = trainer.family.evaluate(trainer.state, trainer.config, trainer.data, "train")
    trainer.family.export = lambda *_: {}  # type: ignore[method-assign]  # nobody will ask this version anything
    trainer.fit()
    after = trainer.family.evaluate(trainer.state, trainer.config, trainer.data, "train")
    assert not learned(before), before
    assert learned(after), after


def test_the_score_improves_over_a_run(name: str, finished: Finish) -> None:
    done = finished(name)
    score = done.trainer.family.spec.score
    values = [event[score.metric] for event in tiny.events(done.run, "metrics")]
    assert len(values) == tiny.EVALUATIONS + done.trainer.family.spec.evaluates_at_start
    first, best = values[0], sorted(values, reverse=score.higher_is_better)[0]
    assert best < 0.7 * first if not score.higher_is_better else best > 1.3 * first
    assert score.better(values[-1], first)


def test_a_published_version_has_the_score_of_its_test_part(name: str, finished: Finish) -> None:
    manifest = finished(name).manifest
    assert manifest.metrics["split"] == "test"
    assert np.isfinite(manifest.metrics[manifest.score.metric])
    assert manifest.score.held_out.startswith(f"test of {manifest.dataset.sha256}")


def test_versions_are_comparable_only_when_scored_on_the_same(name: str, finished: Finish) -> None:
    trainer = finished(name).trainer
    family, config, data = trainer.family, trainer.config, trainer.data
    same = family.scored_on(config, data)
    assert same
    assert same in finished(name).manifest.score.held_out
    if family.spec.modality == "image":
        other = family.scored_on(config.model_copy(update={"size": 64}), data)
    elif family.spec.modality == "number":
        return  # every config is scored on the same draws
    else:
        other = family.scored_on(config, replace(data, vocabulary=text.plain_vocabulary(["a smaller one"])))
    assert other != same


# -- resuming --------------------------------------------------------------------------------------------------------


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(name: str, finished: Finish, tmp_path: Path) -> None:
    whole = finished(name)
    run = tiny.new_run(tmp_path, name)
    per_epoch = whole.trainer.steps_per_epoch
    # In the middle of a pass, at the end of one, right behind that, and between two evaluations.
    stops = sorted({per_epoch // 2 + 1, 3 * per_epoch, 3 * per_epoch + 1, 50})
    for stop in stops:
        trainer = tiny.new_trainer(run, whole.source)
        tiny.after_step(trainer, stop, tiny.interrupt)
        with pytest.raises(Interrupted):
            trainer.fit()
        assert trainer.state.step == stop
    again = tiny.finish(run, whole.source)

    last = f"step-{tiny.STEPS:012d}.safetensors"
    one, other = (checkpoint.load(done.run.checkpoints / last)["state"] for done in (whole, again))
    assert differences(one, other) == []
    assert "weights.safetensors" in whole.manifest.files
    for file, entry in whole.manifest.files.items():
        if not file.endswith(".onnx"):  # the exporter promises equal answers, not equal bytes
            assert again.manifest.files[file] == entry, file
    assert again.manifest.metrics == whole.manifest.metrics
    for kind in ("metrics", "sample"):
        told, told_again = (
            [{key: value for key, value in event.items() if key != "time"} for event in tiny.events(done.run, kind)]
            for done in (whole, again)
        )
        assert told_again == told


def test_another_seed_is_another_model(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    trainer = tiny.new_trainer(tiny.new_run(tmp_path, name, seed=1), done.source)
    same = tiny.new_trainer(tiny.new_run(tmp_path / "same", name, seed=0), done.source)
    first = checkpoint.load(sorted(done.run.checkpoints.glob("step-*"))[0])["state"]["modules"]
    for module, weights in trainer.state.modules.items():
        assert differences(weights.state_dict(), same.state.modules[module].state_dict()) != []
        assert weights.state_dict().keys() == first[module].keys()


def test_a_pass_goes_on_at_any_batch_and_has_as_many_as_promised(name: str, finished: Finish) -> None:
    trainer = finished(name).trainer
    family, data, config = trainer.family, trainer.data, trainer.config
    for epoch in range(4):
        whole = list(family.batches(data, config, 5, epoch, 0))
        assert len(whole) == family.steps_per_epoch(data, config) > 1
        for start in (1, len(whole) - 1, len(whole)):
            assert differences(list(family.batches(data, config, 5, epoch, start)), whole[start:]) == []


def test_prepared_data_reads_back_the_same(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    prepared = done.trainer.family.prepare(done.source, done.trainer.config, tmp_path)
    loaded = done.trainer.family.load(tmp_path)
    assert set(prepared.splits) == set(loaded.splits) == {"train", "validation", "test"}
    for part, values in prepared.splits.items():
        assert len(values) > 0
        np.testing.assert_array_equal(loaded.splits[part], values)


# -- looking without touching ----------------------------------------------------------------------------------------


def test_evaluate_and_preview_change_nothing(name: str, sources: dict[str, Path], tmp_path: Path) -> None:
    trainer = tiny.new_trainer(tiny.new_run(tmp_path, name), sources[name])
    family, state, config, data = trainer.family, trainer.state, trainer.config, trainer.data
    batches = family.batches(data, config, 0, 0, 0)
    for _ in range(3):
        state.losses = family.train_step(state, config, data, next(batches))
        state.step, state.batch = state.step + 1, state.batch + 1
    checkpoint.save(tmp_path / "before.safetensors", state.tree())
    chances = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()

    figures = [family.evaluate(state, config, data, split) for split in ("train", "validation", "test")]
    preview = family.preview(state, config, data)
    assert family.evaluate(state, config, data, "validation") == figures[1]
    assert family.preview(state, config, data) == preview

    checkpoint.save(tmp_path / "after.safetensors", state.tree())
    before, after = (checkpoint.load(tmp_path / f"{when}.safetensors") for when in ("before", "after"))
    assert differences(before, after) == []
    assert torch.equal(chances[0], torch.get_rng_state())
    assert chances[1:] == (np.random.get_state()[1].tolist(), random.getstate())
    # and the next update is the one it would have been
    losses = family.train_step(state, config, data, batch := next(batches))
    state.load_tree(before)
    assert differences(family.train_step(state, config, data, batch), losses) == []


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_part_has_the_score(name: str, split: Any, finished: Finish) -> None:
    trainer = finished(name).trainer
    figures = trainer.family.evaluate(trainer.state, trainer.config, trainer.data, split)
    assert np.isfinite(figures[trainer.family.spec.score.metric])
    assert all(isinstance(value, float) for value in figures.values())


def test_a_preview_is_a_text_or_a_picture(name: str, finished: Finish) -> None:
    trainer = finished(name).trainer
    preview = trainer.family.preview(trainer.state, trainer.config, trainer.data)
    if trainer.family.spec.modality == "text":
        assert preview.png is None
        assert preview.text
    else:
        assert preview.text is None
        assert preview.png is not None
        assert preview.png.startswith(b"\x89PNG")


# -- exporting -------------------------------------------------------------------------------------------------------


def lstm_answers(done: Finished) -> list[tuple[np.ndarray, np.ndarray]]:
    predictor = NextWord.open(done.run.artifact)
    config = LSTMConfig.model_validate(done.manifest.config)
    model = WordLSTM(config, len(predictor.vocabulary)).eval()
    model.load_state_dict(load_file(done.run.artifact / "weights.safetensors"))
    rng, most = np.random.default_rng(0), config.context
    contexts = [rng.integers(2, len(predictor.vocabulary), length).tolist() for length in (0, 1, 3, most, most + 9)]
    pairs = []
    for group in [contexts, *([context] for context in contexts)]:  # together, padded, and one by one
        served = predictor.probabilities(group)
        rows = [predictor.context(context) for context in group]
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=1)
        with torch.no_grad():
            trained = torch.softmax(model(ids, torch.tensor([len(row) for row in rows])), 1)
        pairs.append((served, trained.numpy()))
    return pairs


def gan_answers(done: Finished) -> list[tuple[np.ndarray, np.ndarray]]:
    sampler = Sampler.open(done.run.artifact)
    config = GANConfig.model_validate(done.manifest.config)
    weights = load_file(done.run.artifact / "weights.safetensors")
    generator, discriminator = Generator(config).eval(), Discriminator(config).eval()
    for part, module in (("generator.", generator), ("discriminator.", discriminator)):
        module.load_state_dict({key.removeprefix(part): w for key, w in weights.items() if key.startswith(part)})
    assert len(weights) == len(generator.state_dict()) + len(discriminator.state_dict())
    pairs = []
    for seed in (0, 1, 7, 2**32 - 1):
        served = sampler.draw(seed)
        with torch.no_grad():
            trained = generator(torch.from_numpy(latent(seed, config.latent))[None])
            logit = discriminator(torch.from_numpy(served))
        fitted = done.manifest.serving["calibration"]
        realness = torch.sigmoid(fitted["scale"] * logit + fitted["offset"])
        pairs.append((served, trained.numpy()))
        pairs.append((np.array([sampler.realness(served)]), realness.numpy()))
    return pairs


def number_answers(done: Finished) -> list[tuple[np.ndarray, np.ndarray]]:
    predictor = Density.open(done.run.artifact)
    config = DensityConfig.model_validate(done.manifest.config)
    weights = load_file(done.run.artifact / "weights.safetensors")
    generator, discriminator = NumberGenerator(config), NumberDiscriminator(config)
    for part, module in (("generator.", generator), ("discriminator.", discriminator)):
        module.load_state_dict({key.removeprefix(part): w for key, w in weights.items() if key.startswith(part)})
    drawn = predictor.draw(7)
    with torch.no_grad():
        trained = generator(torch.from_numpy(noise(7, len(drawn)))).numpy()[:, 0]
        realness = torch.sigmoid(discriminator(torch.from_numpy(drawn)[:, None])).numpy()[:, 0]
    return [(drawn, trained), (predictor.realness(drawn), realness)]


ANSWERS = {"lstm": lstm_answers, "gan": gan_answers, "gan-number": number_answers}


def test_exported_answers_equal_the_trained_modules(name: str, finished: Finish) -> None:
    for served, trained in ANSWERS[name](finished(name)):
        assert served.shape == trained.shape
        np.testing.assert_allclose(served, trained, atol=1e-4)
        assert trained.std() > 0 or trained.size == 1  # something was compared


def test_the_version_is_the_best_of_the_run(name: str, finished: Finish) -> None:
    done = finished(name)
    best = checkpoint.load(done.run.checkpoints / BEST)
    published = load_file(done.run.artifact / "weights.safetensors")
    kept = [tensor for module in best.values() for tensor in module.values()]
    for key, tensor in published.items():
        assert any(tensor.shape == other.shape and torch.equal(tensor, other) for other in kept), key


def test_a_version_holds_no_pickle_and_names_every_file(name: str, finished: Finish) -> None:
    done = finished(name)
    assert artifact.verify(done.run.artifact) == done.manifest
    present = {path.relative_to(done.run.artifact) for path in done.run.artifact.rglob("*") if path.is_file()}
    assert {str(path) for path in present} == {*done.manifest.files, "manifest.json"}
    assert {path.suffix for path in present} <= {".json", ".safetensors", ".onnx", ".png", ".txt", ".zlib"}


def test_a_version_says_where_it_comes_from(name: str, finished: Finish) -> None:
    done = finished(name)
    manifest, trainer = done.manifest, done.trainer
    assert (manifest.family, manifest.modality) == (trainer.family.spec.name, trainer.family.spec.modality)
    assert (manifest.seed, manifest.preset, manifest.steps) == (0, "auto", tiny.STEPS)
    assert manifest.epochs == pytest.approx(tiny.STEPS / trainer.steps_per_epoch, abs=0.001)
    assert manifest.config == trainer.config.model_dump()
    assert None not in manifest.config.values()
    assert manifest.dataset.licence == "CC0-1.0"
    modules = trainer.state.modules.values()
    assert manifest.parameters == sum(p.numel() for module in modules for p in module.parameters())


# -- configs ---------------------------------------------------------------------------------------------------------


def test_an_unknown_key_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValidationError, match="hiden_size"):
        IMPLEMENTATIONS[name].config("auto", {"hiden_size": 3})


def test_a_value_out_of_bounds_is_refused_by_name(name: str) -> None:
    fields = IMPLEMENTATIONS[name].Config.model_json_schema()["properties"]
    tried = 0
    for field, schema in fields.items():
        for part in schema.get("anyOf", [schema]):
            outside = []
            if "minimum" in part:
                outside.append(part["minimum"] - 1)
            if "exclusiveMinimum" in part:
                outside.append(part["exclusiveMinimum"])
            if "maximum" in part:
                outside.append(part["maximum"] + 1)
            if "exclusiveMaximum" in part:
                outside.append(part["exclusiveMaximum"])
            for value in [*outside, "many", [[]]]:
                tried += 1
                with pytest.raises(ValidationError, match=field):
                    IMPLEMENTATIONS[name].config("auto", {field: value})
    assert tried > 30


def test_an_unknown_preset_is_a_keyerror(name: str) -> None:
    with pytest.raises(KeyError, match="enormous"):
        IMPLEMENTATIONS[name].config("enormous", {})


def test_every_preset_is_described_ends_and_resolves(name: str, sources: dict[str, Path]) -> None:
    spec = IMPLEMENTATIONS[name]
    assert "auto" in spec.presets
    about = tiny.store.read_info(sources[name])
    for preset, described in spec.presets.items():
        assert described.description
        assert described.budget.is_set
        config = spec.resolve(spec.config(preset, {}), about)
        assert spec.resolve(config, about) == config  # nothing is left to choose


def test_every_setting_is_explained_or_plain(name: str) -> None:
    fields = IMPLEMENTATIONS[name].Config.model_fields
    without = {field for field, about in fields.items() if not about.description}
    assert without <= {"optimizer", "weight_decay", "beta1", "beta2"}
    assert {"evaluations", "patience", "learning_rate"} <= set(fields)  # what the loop reads


def test_loading_twice_gives_two_independent_families(name: str) -> None:
    assert catalog.load(name) is not catalog.load(name)
