"""Differentiable augmentation: what it changes, what it leaves, and that the gradient passes."""

import pytest
import torch

from ml.families.gan.augment import _colour, _cutout, _translate, augment


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
def test_at_full_strength_every_picture_changes_and_none_as_another(channels: int) -> None:
    same = pictures(channels, 1).repeat(16, 1, 1, 1)
    changed = augment(same, 1.0)
    assert changed.shape == same.shape
    assert all(not torch.allclose(a, b) for a, b in zip(changed, same, strict=True))
    assert len({tuple(picture.flatten().tolist()) for picture in changed}) == 16


@pytest.mark.parametrize("change", [_colour, _translate, _cutout])
def test_strength_is_the_share_of_pictures_that_each_change_meets(change) -> None:
    x = pictures(count=600)
    met = (change(x, 0.3) - x).abs().flatten(1).amax(1) > 1e-6
    assert float(met.float().mean()) == pytest.approx(0.3, abs=0.09)


def test_a_picture_moves_by_an_eighth_at_most_and_its_edge_goes_on() -> None:
    x = torch.zeros(200, 1, 16, 16)
    x[:, :, 8, 8] = 1
    moved = _translate(x, 1.0)
    assert torch.equal(moved.flatten(1).sum(1), torch.ones(200))
    _, _, rows, columns = moved.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 10, 6, 10)
    assert torch.equal(_translate(torch.full((5, 3, 16, 16), 0.7), 1.0), torch.full((5, 3, 16, 16), 0.7))


def test_the_hole_is_at_most_a_quarter_of_the_picture() -> None:
    holes = (_cutout(torch.ones(200, 2, 16, 16), 1.0) == 0).float().mean((1, 2, 3))
    assert float(holes.max()) <= 0.25
    assert float(holes.min()) > 0


def test_a_gray_picture_has_no_saturation_to_change() -> None:
    x = pictures(1)
    changed = _colour(x, 1.0)
    a, b = (p.flatten(1) - p.flatten(1).mean(1, keepdim=True) for p in (x, changed))
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(a, b), torch.ones(16))


def test_the_gradient_reaches_the_pictures_that_were_changed() -> None:
    x = pictures().requires_grad_()
    augment(x, 1.0).sum().backward()
    assert x.grad is not None
    assert all(float(slope.abs().max()) > 0 for slope in x.grad)
