"""The starters' recipes, and how a starter is made."""

import sys
from pathlib import Path
from typing import Any

import pytest

from ml import artifact, starters
from ml.data.builtin import BUILTIN
from ml.families.catalog import FAMILIES
from ml.families.lstm.warm_start import read_vocabulary
from ml.run import RunSpec
from ml.serve.text import NextWord, Query
from tests.ml import tiny

QUICK: dict[str, Any] = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "budget": {"epochs": 3}}


@pytest.mark.parametrize("name", starters.STARTERS)
def test_a_recipe_is_a_run_that_can_be_trained(name: str) -> None:
    spec = RunSpec.model_validate(starters.STARTERS[name])
    family = FAMILIES[spec.family]
    assert BUILTIN[spec.dataset].modality == family.modality
    assert family.config(spec.preset, spec.config)
    assert family.budget(spec.preset, spec.budget).is_set


def test_what_a_starter_starts_from_is_trained_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"embedding": 8, "hidden": 8, "min_count": 1, "by_line": True, "evaluations": 1}
    first = {"family": "lstm", "budget": {"steps": 2}, "config": config}
    monkeypatch.setattr(starters, "ENGLISH", first)
    second = first | {"dataset": "lecture", "base_reference": "english", "config": {"evaluations": 1}}
    monkeypatch.setattr(starters, "STARTERS", {"next-word": second})
    english = tiny.write_text(tmp_path / "english", ["i like tea", "you hate tea", "we love dogs"] * 10)
    monkeypatch.setattr(sys, "argv", ["starters", str(tmp_path / "into"), "--english", str(english)])
    starters.main()
    manifest = artifact.verify(tmp_path / "into" / "next-word")
    assert manifest.dataset.name == "lecture"
    assert manifest.base is not None
    assert (manifest.base["reference"], manifest.base["steps"]) == ("english", 2)
    assert {"tea", "coffee"} <= read_vocabulary(tmp_path / "into" / "next-word").ids.keys()


def test_the_starters_are_what_the_service_calls_them() -> None:
    assert set(starters.STARTERS) == {"next-word", "pictures", "faces"}


def test_a_starter_is_a_verified_version_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(starters, "STARTERS", {"quick": QUICK, "slow": QUICK | {"family": "none"}})
    monkeypatch.setattr(sys, "argv", ["starters", str(tmp_path / "into"), "quick"])
    starters.main()
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["quick"]
    manifest = artifact.verify(tmp_path / "into" / "quick")
    assert (manifest.seed, manifest.steps, manifest.dataset.name) == (1, 3, "lecture")
    assert manifest.dataset.attribution
    (answer,) = NextWord.open(tmp_path / "into" / "quick").answer([Query("i like")])
    assert len(answer.predictions) == 5
    assert capsys.readouterr().out.startswith("quick: 0.0 MB, {'loss'")


def test_an_unknown_starter_is_refused_with_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["starters", str(tmp_path / "into"), "pictures", "tunes"])
    with pytest.raises(SystemExit, match="2"):
        starters.main()
    assert "no starter tunes; there are next-word, pictures, faces" in capsys.readouterr().err
    assert not (tmp_path / "into").exists()
