"""The list of families, and what each says of itself without torch."""

import subprocess
import sys

import pytest

from ml.families import catalog
from ml.families.base import Family
from ml.families.catalog import FAMILIES
from ml.families.spec import Score
from ml.run import Budget


def test_a_family_is_listed_under_its_own_name() -> None:
    assert {name: spec.name for name, spec in FAMILIES.items()} == {"lstm": "lstm", "gan": "gan"}
    assert [spec.modality for spec in catalog.variants("gan")] == ["image", "number"]
    assert catalog.learns_from("gan") == "images or numbers"


def test_the_implementation_follows_from_the_data() -> None:
    assert catalog.key_for("gan", "image") == "gan"
    assert catalog.key_for("gan", "number") == "gan-number"
    assert catalog.key_for("gan", "text") == "gan"  # which says that it learns from no texts
    assert catalog.load("gan-number").spec is catalog.IMPLEMENTATIONS["gan-number"]
    with pytest.raises(KeyError):
        catalog.key_for("transformer", "text")


@pytest.mark.parametrize("name", FAMILIES)
def test_loading_gives_the_implementation_with_its_spec(name: str) -> None:
    family = catalog.load(name)
    assert isinstance(family, Family)
    assert family.spec is FAMILIES[name]


def test_an_unknown_name_is_a_keyerror() -> None:
    with pytest.raises(KeyError, match="transformer"):
        catalog.load("transformer")


def test_the_catalog_and_serving_need_no_torch() -> None:
    code = (
        "import sys; from ml.families import catalog; import ml.serve.text, ml.serve.images, ml.serve.density;"
        "[spec.Config.model_json_schema() for spec in catalog.IMPLEMENTATIONS.values()];"
        "print([m for m in ('torch', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_score_knows_which_way_is_better() -> None:
    assert Score("perplexity", higher_is_better=False).better(2.0, 3.0)
    assert not Score("perplexity", higher_is_better=False).better(3.0, 3.0)
    assert Score("top1", higher_is_better=True).better(0.4, 0.3)
    assert not Score("top1", higher_is_better=True).better(0.3, 0.4)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_named_budget_replaces_the_presets_own(name: str) -> None:
    spec = FAMILIES[name]
    for preset in spec.presets:
        assert spec.budget(preset, Budget()) == spec.presets[preset].budget
        assert spec.budget(preset, Budget(steps=7)) == Budget(steps=7)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_callers_own_values_win_over_the_presets(name: str) -> None:
    spec = FAMILIES[name]
    for preset in spec.presets:
        assert spec.config(preset, {"evaluations": 3}).evaluations == 3
