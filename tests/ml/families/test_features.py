"""The fixed features that pictures are compared by."""

import numpy as np
import torch

from ml import metrics
from ml.families.gan.features import WIDTHS, RandomFeatures
from tests.ml import tiny


def pictures(count: int, channels: int = 1) -> torch.Tensor:
    return torch.from_numpy(tiny.discs(count, channels=channels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_they_are_the_same_every_time_and_touch_no_global_chance() -> None:
    state = torch.get_rng_state()
    first = RandomFeatures(3)(pictures(5, 3))
    torch.manual_seed(99)
    np.testing.assert_array_equal(RandomFeatures(3)(pictures(5, 3)), first)
    torch.set_rng_state(state)
    RandomFeatures(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_picture_has_a_mean_and_a_deviation_for_every_channel() -> None:
    assert RandomFeatures(1)(pictures(4)).shape == (4, 2 * sum(WIDTHS))


def test_a_pictures_features_do_not_depend_on_its_neighbours() -> None:
    features, many = RandomFeatures(1), pictures(300)  # more than one part at a time
    together = features(many)
    np.testing.assert_allclose(together[257:258], features(many[257:258]), rtol=1e-4, atol=1e-5)


def test_the_distance_sees_noise_and_blur_and_not_order() -> None:
    features, real = RandomFeatures(1), pictures(200)
    seen = features(real)
    noisy = features((real + 0.5 * torch.randn(real.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1))
    blurred = features(torch.nn.functional.avg_pool2d(real, 7, stride=1, padding=3))
    floor = metrics.frechet_distance(seen[:100], seen[100:])
    assert metrics.frechet_distance(seen, seen[::-1]) < 1e-6
    assert metrics.frechet_distance(seen, noisy) > 5 * floor
    assert metrics.frechet_distance(seen, blurred) > 5 * floor
