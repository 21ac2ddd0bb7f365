"""What is shown of a data set at a glance."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.data import preview, store
from ml.data.store import DatasetError
from tests.ml import tiny


def test_a_folder_gets_the_preview_of_its_kind_once(tmp_path: Path) -> None:
    for folder, name in (
        (tiny.write_text(tmp_path / "a", ["x y"]), "preview.json"),
        (squares(tmp_path / "b", 3), "preview.png"),
    ):
        made = preview.ensure(folder)
        assert made == folder / name
        made.write_bytes(b"kept")
        assert preview.ensure(folder).read_bytes() == b"kept"


def squares(folder: Path, count: int) -> Path:
    """Pictures of one shade each: 0, 1, 2, …"""
    return tiny.write_images(folder, np.repeat(np.arange(count, dtype=np.uint8), 3 * 16).reshape(count, 4, 4, 3))


@pytest.mark.parametrize(
    ("count", "shape", "last"), [(1, (8, 8, 3), 0), (8, (14, 38, 3), 7), (36, (38, 38, 3), 35), (200, (38, 38, 3), 199)]
)
def test_the_grid_holds_up_to_36_pictures_from_the_first_to_the_last(
    tmp_path: Path, count: int, shape: tuple[int, int, int], last: int
) -> None:
    with Image.open(preview.ensure(squares(tmp_path / "set", count))) as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == shape
    shades = np.unique(pixels)
    assert len(shades) == min(count, 36) + 1  # and the white gap
    assert (shades[0], shades[-2]) == (0, last)


def test_a_folder_that_is_no_data_set_has_none(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        preview.ensure(tmp_path)


def test_pictures_written_one_by_one_are_those_written_at_once(tmp_path: Path) -> None:
    pictures = tiny.discs(5)
    labels = np.array([0, 1, 0, 1, 1])
    info = tiny.info("image").model_copy(update={"classes": ["a", "b"]})
    whole = store.write_images(tmp_path / "whole", info, pictures, labels)
    (tmp_path / "parts").mkdir()
    assert store.fill_images(tmp_path / "parts", info, iter(pictures), pictures.shape, labels) == whole
    assert whole.counts["classes"] == 2
    for name in ("images.npy", "labels.npy"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    np.testing.assert_array_equal(store.read_images(tmp_path / "parts")[0], pictures)
