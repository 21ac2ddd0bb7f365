"""What every family promises of a run that starts from a version: its weights, its words, its place in the lineage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ml import artifact, checkpoint, warm_start
from ml.families.base import TrainingError
from ml.families.catalog import FAMILIES
from ml.families.spec import BaseConflict
from ml.run import RunDir
from ml.trainer import Interrupted, Trainer
from tests.ml import tiny
from tests.ml.tiny import Finished, differences

pytestmark = pytest.mark.parametrize("name", FAMILIES)
Finish = Callable[[str], Finished]

STEPS = 24
CHANGES = {"lstm": {"hidden": 25, "windows": True}, "gan": {"latent": 9, "channels": [8, 16]}}  # of the tiny config


def from_base(path: Path, done: Finished, **spec: Any) -> RunDir:
    spec = {"base": str(done.run.artifact), "base_reference": "tiny@1", "budget": {"steps": STEPS}, **spec}
    return tiny.new_run(path, done.manifest.family, **spec)


def copied(done: Finished, into: Path) -> Path:
    """The finished version in a folder of one's own."""
    return Path(shutil.copytree(done.run.artifact, into))


def refusal(run: RunDir, done: Finished) -> str:
    with pytest.raises(TrainingError) as caught:
        tiny.new_trainer(run, done.source)
    return str(caught.value)


def resealed(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Weights changed by someone who knows how to make the manifest say so."""
    weights = load_file(folder / "weights.safetensors")
    change(weights)
    save_file(weights, folder / "weights.safetensors")
    artifact.write(folder.with_name("sealed"), lambda new: seal(folder, new))
    shutil.rmtree(folder)
    folder.with_name("sealed").rename(folder)


def seal(folder: Path, new: Path) -> artifact.Manifest:
    shutil.copytree(folder, new, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
    return artifact.read(folder)


# -- taking over -----------------------------------------------------------------------------------------------------


def test_before_its_first_update_it_answers_as_the_base_does(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    trainer = tiny.new_trainer(from_base(tmp_path, done), done.source)
    assert tiny.events(trainer.run, "message")[0]["text"] == "Starting from tiny@1."
    trainer.state.fitted = done.trainer.state.fitted  # what answers beside the weights
    metrics = {**trainer.family.evaluate(trainer.state, trainer.config, trainer.data, "test"), "split": "test"}
    assert metrics == pytest.approx(done.manifest.metrics)
    unlike = tiny.new_trainer(tiny.new_run(tmp_path / "none", name), done.source)
    assert differences(trainer.state.tree()["modules"], unlike.state.tree()["modules"]) != []


def test_interrupted_or_not_the_end_is_the_same_bit_for_bit(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    whole = tiny.finish(from_base(tmp_path / "whole", done), done.source)

    base = copied(done, tmp_path / "base")
    run = from_base(tmp_path / "stopped", done, base=str(base))
    trainer = tiny.new_trainer(run, done.source)
    tiny.after_step(trainer, 7, tiny.interrupt)
    with pytest.raises(Interrupted):
        trainer.fit()
    shutil.rmtree(base)  # from the first checkpoint on, nothing of it is needed
    again = tiny.finish(run, done.source)
    assert [event["text"] for event in tiny.events(run, "message")] == [
        "Starting from tiny@1.",
        "Going on from step 7.",
    ]

    last = f"step-{STEPS:012d}.safetensors"
    one, other = (checkpoint.load(ended.run.checkpoints / last)["state"] for ended in (whole, again))
    assert differences(one, other) == []
    assert again.manifest.files["weights.safetensors"] == whole.manifest.files["weights.safetensors"]
    assert again.manifest.base == whole.manifest.base


def test_the_card_names_the_base_and_the_bases_own(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    second = tiny.finish(from_base(tmp_path / "second", done), done.source)
    third = tiny.finish(from_base(tmp_path / "third", second, base_reference="tiny@2"), done.source)
    first_entry = {
        "reference": "tiny@1",
        "sha256": done.manifest.files["weights.safetensors"].sha256,
        "steps": tiny.STEPS,
        "dataset": done.manifest.dataset.name,
        "base": None,
    }
    assert done.manifest.base is None
    assert second.manifest.base == first_entry
    sha256 = second.manifest.files["weights.safetensors"].sha256
    assert third.manifest.base == first_entry | {
        "reference": "tiny@2", "sha256": sha256, "steps": STEPS, "base": first_entry,
    }  # fmt: skip
    assert artifact.verify(third.run.artifact) == third.manifest
    # The same text or pictures, the same words: the one can be said to be better than the other.
    assert third.manifest.score == second.manifest.score == done.manifest.score


def test_a_card_goes_back_some_generations_and_no_further(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    older: dict[str, Any] | None = None
    for number in range(300):
        older = {"reference": f"tiny@{number}", "base": older}
    spec = from_base(tmp_path, done, base_reference="tiny@300").read_spec()
    entry = warm_start.lineage(spec, done.manifest.model_copy(update={"base": older}))
    names = []
    while entry is not None:
        names.append(entry["reference"])
        entry = entry["base"]
    assert names == [f"tiny@{number}" for number in range(300, 300 - warm_start.GENERATIONS, -1)]


# -- what is refused -------------------------------------------------------------------------------------------------


def test_a_base_of_another_family_is_refused(name: str, finished: Finish, tmp_path: Path) -> None:
    other = finished(next(family for family in FAMILIES if family != name))
    run = from_base(tmp_path, finished(name), base=str(other.run.artifact))
    words = refusal(run, finished(name))
    assert words.startswith(f"tiny@1 is of the family {other.manifest.family!r}, and this run is of {name!r}")


def test_a_damaged_base_is_refused_by_the_file(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    base = copied(done, tmp_path / "base")
    with (base / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x77")
    words = refusal(from_base(tmp_path / "run", done, base=str(base)), done)
    assert words == "tiny@1 cannot be started from: weights.safetensors was altered: its SHA-256 is not the manifest's"
    shutil.rmtree(base)
    words = refusal(from_base(tmp_path / "run", done, base=str(base), base_reference=None), done)
    assert words == f"{base} cannot be started from: manifest.json is missing"


def test_a_base_without_weights_is_refused(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    base = copied(done, tmp_path / "base")
    manifest = json.loads((base / "manifest.json").read_text())
    del manifest["files"]["weights.safetensors"]
    (base / "manifest.json").write_text(json.dumps(manifest))
    assert "weights.safetensors is missing" in refusal(from_base(tmp_path / "run", done, base=str(base)), done)


def test_weights_that_do_not_fit_their_config_are_refused(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    base = copied(done, tmp_path / "base")
    manifest = json.loads((base / "manifest.json").read_text())
    field = {"lstm": "hidden", "gan": "latent"}[name]
    manifest["config"][field] += 1
    (base / "manifest.json").write_text(json.dumps(manifest))
    run = from_base(tmp_path / "run", done, base=str(base), config={field: None})
    assert "the base's architecture does not fit" in refusal(run, done)


def test_weights_that_are_no_numbers_are_refused(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    base = copied(done, tmp_path / "base")
    resealed(base, lambda weights: next(iter(weights.values())).fill_(float("nan")))
    assert "values that are no numbers" in refusal(from_base(tmp_path / "run", done, base=str(base)), done)


def test_weights_that_are_no_safetensors_are_refused(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    base = copied(done, tmp_path / "base")
    trainer = tiny.new_trainer(from_base(tmp_path / "run", done), done.source)
    (base / "weights.safetensors").write_bytes(b"a pickle, perhaps")
    with pytest.raises(TrainingError, match="the base's weights cannot be read"):
        trainer.family.start_from(trainer.state, trainer.data, base)


def test_a_base_replaced_during_the_run_is_refused(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    base = copied(done, tmp_path / "base")
    run = from_base(tmp_path / "run", done, base=str(base))
    assert isinstance(tiny.new_trainer(run, done.source), Trainer)  # and ended before its first checkpoint
    resealed(base, lambda weights: next(iter(weights.values())).add_(1))
    assert refusal(run, done) == "tiny@1 was replaced after this run began; start a new run"


def test_a_contradicting_config_is_refused_by_the_field(name: str, finished: Finish, tmp_path: Path) -> None:
    done = finished(name)
    for field, value in CHANGES[name].items():
        has = done.manifest.config[field]
        words = f"{field} is fixed by the base, which has {has!r}; leave it out instead of {value!r}"
        with pytest.raises(BaseConflict) as caught:
            FAMILIES[name].continue_config(done.manifest.config, "auto", {field: value})
        assert (caught.value.field, str(caught.value)) == (field, words)
        assert refusal(from_base(tmp_path, done, config={field: value}), done) == words


# -- the config ------------------------------------------------------------------------------------------------------


def test_every_preset_goes_on_with_the_bases_architecture(name: str, finished: Finish) -> None:
    spec, base = FAMILIES[name], finished(name).manifest.config
    about = tiny.info(spec.modality)
    for preset, described in spec.presets.items():
        config = spec.settle(preset, {}, about, base).model_dump()
        assert {field: config[field] for field in spec.architecture} == {f: base[f] for f in spec.architecture}
        usual = spec.settle(preset, {}, about).model_dump()
        assert config["learning_rate"] == pytest.approx(spec.fine_tuning_rate * usual["learning_rate"])
        for field in set(described.values) - {*spec.architecture, "learning_rate"}:
            assert config[field] == described.values[field]


def test_what_was_asked_for_is_taken_when_it_agrees(name: str, finished: Finish) -> None:
    spec, base = FAMILIES[name], finished(name).manifest.config
    same = {field: base[field] for field in spec.architecture} | {"learning_rate": 0.02, "evaluations": 3}
    config = spec.settle("auto", same, tiny.info(spec.modality), base).model_dump()
    assert config.items() >= same.items()


def test_a_field_that_the_base_does_not_know_yet_is_chosen_as_usual(name: str, finished: Finish) -> None:
    spec, base = FAMILIES[name], finished(name).manifest.config
    first, *_ = spec.architecture
    older = {field: value for field, value in base.items() if field != first}
    assert spec.settle("auto", {}, tiny.info(spec.modality), older) is not None
