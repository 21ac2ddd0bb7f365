"""Faces drawn from seeds."""

import random

import numpy as np
import pytest

from ml.data import faces


def test_the_same_seed_is_the_same_face() -> None:
    assert faces.draw_face(5).tobytes() == faces.draw_face(5).tobytes()


def test_different_seeds_are_different_faces() -> None:
    assert len({faces.draw_face(seed).tobytes() for seed in range(200)}) == 200


def test_a_face_does_not_depend_on_global_chance_nor_touch_it() -> None:
    random.seed(1)
    before, state = faces.draw_face(3).tobytes(), random.getstate()
    assert random.getstate() == state
    random.seed(2)
    assert faces.draw_face(3).tobytes() == before


@pytest.mark.parametrize("size", [32, 64])
def test_a_face_is_a_colour_picture_of_the_size_asked_for(size: int) -> None:
    face = faces.draw_face(1, size)
    assert (face.mode, face.size) == ("RGB", (size, size))


def test_a_face_has_skin_in_its_middle_and_background_in_its_corner() -> None:
    near = 40
    for seed in range(30):
        pixels = np.asarray(faces.draw_face(seed)).astype(int)
        corner = [int(abs(pixels[2, 2] - back).sum()) for back in faces.BACKS]
        cheek = [int(abs(pixels[37, 32] - skin).sum()) for skin in faces.SKINS]
        assert min(corner) == 0, seed
        assert min(cheek) < 4 * near, seed


def test_many_faces_are_those_of_the_first_seeds() -> None:
    drawn = faces.draw_faces(3, 32)
    assert drawn.shape == (3, 32, 32, 3)
    assert drawn.dtype == np.uint8
    for seed in range(3):
        np.testing.assert_array_equal(drawn[seed], np.asarray(faces.draw_face(seed, 32)))
