"""Differentiable augmentation: what it changes, what it leaves, and that the gradient passes."""

import pytest
import torch

from ml.families.gan.augment import augment


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pictures(channels: int = 3, count: int = 16) -> torch.Tensor:
    return torch.rand(count, channels, 16, 16) * 2 - 1


def test_no_strength_changes_nothing_and_draws_nothing() -> None:
    x, chance = pictures(), torch.get_rng_state()
    assert augment(x, 0.0) is x
    assert torch.equal(torch.get_rng_state(), chance)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_move_each_its_own_way(channels: int) -> None:
    same = pictures(channels, 1).repeat(40, 1, 1, 1)
    changed = augment(same, 1.0)
    assert changed.shape == same.shape
    assert len({tuple(picture.flatten().tolist()) for picture in changed}) > 16  # of 25 places


def test_strength_is_the_share_of_pictures_that_are_moved() -> None:
    x = pictures(count=600)
    met = (augment(x, 0.3) - x).abs().flatten(1).amax(1) > 1e-6
    assert float(met.float().mean()) == pytest.approx(0.3 * 24 / 25, abs=0.09)


def test_a_picture_moves_by_an_eighth_at_most_and_its_edge_goes_on() -> None:
    x = torch.zeros(200, 1, 16, 16)
    x[:, :, 8, 8] = 1
    moved = augment(x, 1.0)
    assert torch.equal(moved.flatten(1).sum(1), torch.ones(200))
    _, _, rows, columns = moved.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 10, 6, 10)
    assert torch.equal(augment(torch.full((5, 3, 16, 16), 0.7), 1.0), torch.full((5, 3, 16, 16), 0.7))


def test_the_gradient_reaches_the_pictures_that_were_moved() -> None:
    x = pictures().requires_grad_()
    augment(x, 1.0).sum().backward()
    assert x.grad is not None
    assert all(float(slope.abs().max()) > 0 for slope in x.grad)
