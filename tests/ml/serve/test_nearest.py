"""Training pictures that a drawn one is like."""

from pathlib import Path

import numpy as np
import pytest

from ml.data import store
from ml.data.images import resize, split
from ml.serve import nearest as module
from ml.serve.nearest import nearest
from tests.ml import tiny


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3)])
def test_a_copy_is_found_at_distance_zero(size: int, channels: int) -> None:
    images = tiny.discs(300, size, channels)
    train, validation, test = split(len(images))
    found = nearest(images[train[17]], images, 5)
    assert found.indices[0] == train[17]
    assert found.distances[0] == 0
    assert found.distances == sorted(found.distances)
    assert len(found.indices) == 5
    np.testing.assert_array_equal(found.pictures, images[found.indices])
    held_out = nearest(images[test[0]], images, 300)
    assert set(held_out.indices) == set(train)  # and not itself: the model never saw it
    assert held_out.distances[0] > 0
    assert set(held_out.indices).isdisjoint(validation)


def test_distances_are_those_of_the_definition_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 3), dtype=np.uint8)
    picture = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    whole = nearest(picture, images, 10)
    monkeypatch.setattr(module, "BLOCK_BYTES", 4 * 8 * 8 * 3 * 7)
    parts = nearest(picture, images, 10)
    assert (parts.indices, parts.distances) == (whole.indices, whole.distances)
    assert parts.held_out_distance == pytest.approx(whole.held_out_distance)

    def blurred(pixels: np.ndarray) -> np.ndarray:
        padded = np.pad(pixels / 255, ((1, 1), (1, 1), (0, 0)), "edge")
        out = np.zeros(pixels.shape)
        for dy, a in enumerate((0.25, 0.5, 0.25)):
            for dx, b in enumerate((0.25, 0.5, 0.25)):
                out += a * b * padded[dy : dy + 8, dx : dx + 8]
        return out

    train = split(len(images))[0]
    expected = sorted((np.sqrt(np.square(blurred(images[i]) - blurred(picture)).mean()), i) for i in train)[:10]
    assert whole.indices == [i for _, i in expected]
    assert whole.distances == pytest.approx([distance for distance, _ in expected], abs=1e-5)


def test_the_ends_of_the_scale() -> None:
    images = np.zeros((60, 8, 8, 1), np.uint8)
    white = nearest(np.full((8, 8, 1), 255, np.uint8), images, 1)
    assert white.distances == pytest.approx([1])
    assert white.held_out_distance == 0  # they are all the same


def test_a_shift_by_a_pixel_is_nearer_than_another_shape() -> None:
    images = np.zeros((60, 12, 12, 1), np.uint8)
    train = split(60)[0]
    images[train[3], 2:10, 5:7] = 255  # a stroke
    images[train[4], 5:7, 2:10] = 255  # one that lies
    drawn = np.zeros((12, 12, 1), np.uint8)
    drawn[2:10, 6:8] = 255
    assert nearest(drawn, images, 1).indices == [train[3]]


def test_pictures_on_disk_of_another_size_are_seen_as_in_training(tmp_path: Path) -> None:
    tiny.write_images(tmp_path / "set", tiny.discs(100, 64, 3))
    images, _ = store.read_images(tmp_path / "set")
    train = split(100)[0]
    (copy,) = resize(images[train[5:6]], 32, 3)
    found = nearest(copy, images, 3)
    assert (found.indices[0], found.distances[0]) == (train[5], 0)
    assert found.pictures.shape == (3, 32, 32, 3)
