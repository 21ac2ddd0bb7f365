"""Pictures as arrays: sizes, splits, batches and grids."""

import numpy as np
import pytest

from ml.data import images
from tests.ml import tiny


def test_pictures_of_the_right_size_stay_as_they_are() -> None:
    pictures = tiny.discs(3, 28)
    np.testing.assert_array_equal(images.resize(pictures, 28, 1), pictures)


def test_halving_averages_areas() -> None:
    board = np.zeros((1, 4, 4, 1), np.uint8)
    board[0, :2, :2, 0] = 200
    board[0, :2, 2:, 0] = [[100, 0], [0, 100]]
    np.testing.assert_array_equal(images.resize(board, 2, 1)[0, :, :, 0], [[200, 50], [0, 0]])


def test_enlarging_a_flat_picture_keeps_its_colour() -> None:
    flat = np.full((2, 5, 5, 3), (10, 200, 60), np.uint8)
    big = images.resize(flat, 32, 3)
    assert big.shape == (2, 32, 32, 3)
    assert (big == (10, 200, 60)).all()


def test_colour_becomes_gray_and_gray_becomes_colour() -> None:
    white = np.full((1, 8, 8, 3), 255, np.uint8)
    green = np.zeros((1, 8, 8, 3), np.uint8)
    green[..., 1] = 255
    gray = images.resize(np.concatenate([white, green]), 8, 1)
    assert gray[0, 0, 0, 0] == 255
    assert gray[1, 0, 0, 0] == 150  # ITU-R 601: 0.587 of 255
    colour = images.resize(gray, 8, 3)
    assert (colour[1] == 150).all()


@pytest.mark.parametrize(("height", "width"), [(10, 20), (20, 10)])
def test_a_wide_or_tall_picture_is_squared_on_its_own_background(height: int, width: int) -> None:
    picture = np.full((1, height, width, 1), 40, np.uint8)
    picture[0, height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2] = 255
    (square,) = images.resize(picture, 20, 1)
    assert square.shape == (20, 20, 1)
    assert set(np.unique(square)) == {40, 255}
    bright = np.argwhere(square[:, :, 0] == 255)
    assert bright.tolist() == [[y, x] for y in range(8, 12) for x in range(8, 12)]


@pytest.mark.parametrize("count", [50, 101, 5000, 40_000])
def test_the_parts_are_disjoint_and_together_everything(count: int) -> None:
    train, validation, test = images.split(count)
    assert sorted(np.concatenate([train, validation, test])) == list(range(count))
    assert len(validation) == len(test) == min(2000, round(count * 0.1))


def test_the_split_is_the_same_every_time_whatever_the_seeds() -> None:
    first = images.split(300)
    np.random.seed(5)
    for part, again in zip(first, images.split(300), strict=True):
        np.testing.assert_array_equal(part, again)


def test_an_epoch_shows_every_picture_at_most_once_in_full_batches() -> None:
    batches = list(images.shuffled_batches(50, 8, seed=1, epoch=0))
    assert [len(batch) for batch in batches] == [8] * 6
    assert len(set(np.concatenate(batches).tolist())) == 48


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(list(images.shuffled_batches(64, 8, seed, epoch))).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_batches_resume_where_they_were() -> None:
    whole = list(images.shuffled_batches(50, 8, 3, 2))
    for start in range(len(whole) + 1):
        rest = list(images.shuffled_batches(50, 8, 3, 2, start))
        assert [batch.tolist() for batch in rest] == [batch.tolist() for batch in whole[start:]]


def test_fewer_pictures_than_a_batch_are_one_batch() -> None:
    (batch,) = images.shuffled_batches(5, 32, 0, 0)
    assert sorted(batch.tolist()) == [0, 1, 2, 3, 4]


def test_a_grid_lays_pictures_out_in_rows_with_a_white_gap() -> None:
    pictures = np.zeros((5, 4, 6, 3), np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None, None]
    sheet = images.grid(pictures, columns=3, gap=2)
    assert sheet.shape == (2 * 6 + 2, 3 * 8 + 2, 3)
    for i in range(5):
        top, left = 2 + (i // 3) * 6, 2 + (i % 3) * 8
        assert (sheet[top : top + 4, left : left + 6] == i).all()
    assert (sheet[8:12, 18:24] == 255).all()  # no sixth picture
    assert (sheet[:2] == 255).all()
    assert (sheet[:, 8:10] == 255).all()


def test_a_grid_is_no_wider_than_its_pictures() -> None:
    assert images.grid(tiny.discs(2, 4), columns=8).shape == (8, 14, 1)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_picture_keeps_its_pixels(channels: int, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    picture = images.to_image(pixels)
    assert (picture.mode, picture.size) == (mode, (7, 5))
    np.testing.assert_array_equal(np.asarray(picture).reshape(5, 7, channels), pixels)


@pytest.mark.parametrize("count", [1, 2, 50, 375, 5000, 100_000])
def test_the_held_out_parts_are_as_large_as_said(count: int) -> None:
    train, validation, test = images.split(count)
    assert len(validation) == images.held_out(count)
    assert len(train) + len(validation) + len(test) == max(count, 1)
