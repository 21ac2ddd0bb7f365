"""Mixtures of Gaussians, and the distance of draws to them."""

import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from ml.chart import round_numbers
from ml.data import builtin, preview, store
from ml.data.builtin import DENSITIES
from ml.data.numbers import Mixture, Peak
from ml.data.store import DatasetError
from tests.ml import tiny

NORMAL = Mixture(peaks=(Peak(mean=0, deviation=1),))


def test_a_normal_has_the_textbooks_values() -> None:
    x = np.array([-1.96, 0.0, 1.0, 1.959964])
    np.testing.assert_allclose(NORMAL.below(x), [0.0249979, 0.5, 0.8413447, 0.975], atol=1e-6)
    np.testing.assert_allclose(NORMAL.density(np.array([0.0, 1.0])), [0.3989423, 0.2419707], atol=1e-6)


def test_shares_follow_the_weights() -> None:
    mixture = Mixture(peaks=(Peak(mean=-5, deviation=0.5, weight=3), Peak(mean=5, deviation=0.5, weight=1)))
    assert float(mixture.below(np.array([0.0]))[0]) == pytest.approx(0.75)
    assert (mixture.draw(20_000, 1) < 0).mean() == pytest.approx(0.75, abs=0.02)
    assert mixture.span == (-7, 7)
    x = np.linspace(*mixture.span, 2001)
    assert np.trapezoid(mixture.density(x), x) == pytest.approx(1, abs=1e-3)


def test_the_distance_has_known_values() -> None:
    assert NORMAL.ks_distance(np.array([0.0])) == pytest.approx(0.5)
    assert NORMAL.ks_distance(np.array([-0.6744898, 0.6744898])) == pytest.approx(0.25, abs=1e-6)  # the quartiles
    assert NORMAL.ks_distance(np.full(100, 50.0)) == pytest.approx(1)
    shifted = NORMAL.draw(20_000, 3) + 1  # two normals, 1 apart: 2 Phi(1/2) - 1
    assert NORMAL.ks_distance(shifted) == pytest.approx(math.erf(0.5 / math.sqrt(2)), abs=0.015)
    assert NORMAL.ks_distance(NORMAL.draw(20_000, 4)) < 0.015


@pytest.mark.parametrize("peak", [{"mean": 0, "deviation": 0}, {"mean": math.inf, "deviation": 1}, {"mean": 0}])
def test_an_impossible_peak_is_refused(peak: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Mixture.model_validate({"peaks": [peak]})


@pytest.mark.parametrize("name", list(DENSITIES))
def test_the_built_in_numbers_come_from_their_density(name: str, tmp_path: Path) -> None:
    info = builtin.ensure(name, tmp_path / name)
    numbers, density = store.read_numbers(tmp_path / name)
    assert (info.modality, info.counts) == ("number", {"numbers": builtin.NUMBERS})
    assert density == info.density == builtin.BUILTIN[name].info.density
    assert density.ks_distance(numbers) < 0.01
    assert preview.ensure(tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_numbers_of_unknown_origin_are_refused(tmp_path: Path) -> None:
    store.write_numbers(tmp_path / "set", tiny.info("number"), np.zeros(3, np.float32))
    with pytest.raises(DatasetError, match="must have a density"):
        store.read_numbers(tmp_path / "set")


@pytest.mark.parametrize(
    ("span", "values"), [((0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]), ((1.5, 6.5), [2, 3, 4, 5, 6]), ((-4, 4), range(-4, 5))]
)
def test_an_axis_has_round_numbers(span: tuple[float, float], values: list[float]) -> None:
    assert round_numbers(*span) == pytest.approx(list(values))
