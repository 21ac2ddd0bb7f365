"""The learning rate over a budget."""

import pytest

from ml.families.schedule import WARM_UP, hold_then_decay


def test_it_warms_up_from_a_rate_above_0() -> None:
    rates = [hold_then_decay(WARM_UP * share, hold=0.5) for share in (0.0, 0.25, 0.5, 1.0)]
    assert rates[0] == 0.05
    assert rates == sorted(rates)
    assert rates[-1] == 1.0


@pytest.mark.parametrize("hold", [0.2, 0.5, 0.9])
def test_it_holds_then_falls_to_0(hold: float) -> None:
    assert hold_then_decay(hold, hold) == 1.0
    assert hold_then_decay((hold + 1) / 2, hold) == pytest.approx(0.5)
    assert hold_then_decay(1.0, hold) == pytest.approx(0.0)
    falling = [hold_then_decay(hold + (1 - hold) * share / 20, hold) for share in range(21)]
    assert falling == sorted(falling, reverse=True)


def test_holding_to_the_end_never_decays() -> None:
    assert hold_then_decay(1.0, hold=1.0) == 1.0


def test_beyond_the_budget_it_stays_0() -> None:
    assert hold_then_decay(1.5, hold=0.5) == pytest.approx(0.0)


def test_no_hold_at_all_still_starts_near_the_peak() -> None:
    assert hold_then_decay(WARM_UP, hold=0.0) > 0.99
