"""The starters' recipes, and how a starter is made."""

import re
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


STAGES = [(name, stage) for name, stages in starters.STARTERS.items() for stage in stages]


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_a_recipe_is_a_run_that_can_be_trained(name: str, stage: str) -> None:
    spec = RunSpec.model_validate(starters.STARTERS[name][stage])
    family = FAMILIES[spec.family]
    assert spec.dataset in starters.ENGLISH_SETS or BUILTIN[spec.dataset].modality == family.modality
    assert family.config(spec.preset, spec.config)
    assert family.budget(spec.preset, spec.budget).is_set


def test_a_starter_goes_through_its_stages_one_from_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"embedding": 8, "hidden": 8, "min_count": 1, "by_line": True, "evaluations": 1}
    first: dict[str, Any] = {"family": "lstm", "dataset": "broad", "budget": {"steps": 2}, "config": config}
    stages = {
        "first": first,
        "second": first | {"dataset": "common", "budget": {"steps": 3}, "config": config | {"own_words": True}},
        "third": first | {"dataset": "lecture", "config": {"evaluations": 1}},
    }
    monkeypatch.setattr(starters, "STARTERS", {"next-word": stages})
    tiny.write_text(tmp_path / "english" / "broad", ["i like tea", "you hate wuz", "we love dogs"] * 10)
    tiny.write_text(tmp_path / "english" / "common", ["i like tea", "we love dogs"] * 10)
    monkeypatch.setattr(
        sys, "argv", ["starters", str(tmp_path / "into"), "next-word", "--english", str(tmp_path / "english")]
    )
    starters.main()
    manifest = artifact.verify(tmp_path / "into" / "next-word")
    assert manifest.dataset.name == "lecture"
    assert manifest.base is not None
    assert (manifest.base["reference"], manifest.base["steps"]) == ("second", 3)
    assert manifest.base["base"]["reference"] == "first"
    words = read_vocabulary(tmp_path / "into" / "next-word").ids.keys()
    assert {"tea", "coffee"} <= words
    assert "wuz" not in words


def test_a_word_half_typed_is_rarely_a_word_of_the_starter() -> None:
    """Such a one is not completed. Of the places inside these words .21; .47 and .57 in two starters before."""
    root = Path(__file__).resolve().parents[2]
    known = read_vocabulary(root / "app" / "starters" / "next-word").ids
    words = re.findall(r"[a-z]{2,}", (root / "README.md").read_text().lower())
    halves = [word[:typed] for word in words for typed in range(1, len(word))]
    assert sum(half in known for half in halves) < 0.3 * len(halves)


def test_the_starters_are_what_the_service_calls_them() -> None:
    assert set(starters.STARTERS) == {"next-word", "pictures", "faces"}


def test_a_starter_is_a_verified_version_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(starters, "STARTERS", {"quick": {"quick": QUICK}, "slow": {"slow": QUICK | {"family": "none"}}})
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
