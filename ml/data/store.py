"""A data set on disk: one folder, the same shape whether built in or uploaded.

    dataset.json   what it is: DatasetInfo
    text.txt       a text: UTF-8, one document a line
    images.npy     pictures: uint8 (N, H, W, C), C = 1 or 3
    labels.npy     class of each picture: int64 (N,), optional
    numbers.npy    single numbers: float32 (N,)
    preview.json   what the page shows of a text (ml/data/preview.py)
    preview.png    the same of pictures, or of numbers

Must not know: where the folder came from, or which family will read it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from ml import files
from ml.data.numbers import Mixture

Modality = Literal["text", "image", "number"]
Pictures = npt.NDArray[np.uint8]  # (N, H, W, C)
Labels = npt.NDArray[np.int64]  # (N,)
Singles = npt.NDArray[np.float32]  # (N,)


class DatasetInfo(BaseModel):
    """What a data set is and under what terms it may be used; copied into every card of a model made of it."""

    name: str
    title: str
    modality: Modality
    licence: str
    attribution: str
    counts: dict[str, int] = {}
    classes: list[str] = []
    density: Mixture | None = None  # what numbers were drawn from
    sha256: str = ""


class DatasetError(Exception):
    """A data set that cannot be read or made; the message says what to do."""


def write_text(folder: Path, info: DatasetInfo, lines: Sequence[str]) -> DatasetInfo:
    """Write a text data set; `lines` are its documents. Returns the info with counts and hash filled in."""
    blob = "".join(f"{line}\n" for line in lines).encode()
    counts = {"lines": len(lines), "words": sum(len(line.split()) for line in lines), "bytes": len(blob)}
    done = info.model_copy(update={"counts": counts, "sha256": hashlib.sha256(blob).hexdigest()})
    with files.new_folder(folder) as new:
        (new / "text.txt").write_bytes(blob)
        files.write_json(new / "dataset.json", done.model_dump())
    return done


def write_images(folder: Path, info: DatasetInfo, images: Pictures, labels: Labels | None = None) -> DatasetInfo:
    """Write a picture data set. `images`: uint8 (N, H, W, C); `labels`: (N,) or None."""
    with files.new_folder(folder) as new:
        return fill_images(new, info, images, images.shape, labels)


def fill_images(
    new: Path, info: DatasetInfo, images: Iterable[Pictures], shape: tuple[int, ...], labels: Labels | None
) -> DatasetInfo:
    """The same from one picture (H, W, C) after another, into a folder that is there; `shape` is theirs together."""
    digest = hashlib.sha256()
    # Written, not mapped: on a full disk a write is an error that can be told, a mapped page ends the process.
    with (new / "images.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for picture in images:
            blob = picture.tobytes()
            file.write(blob)
            digest.update(blob)
    if labels is not None:
        np.save(new / "labels.npy", labels)
        digest.update(labels.tobytes())
    counts = dict(zip(("pictures", "height", "width", "channels"), shape, strict=True))
    if info.classes:
        counts["classes"] = len(info.classes)
    done = info.model_copy(update={"counts": counts, "sha256": digest.hexdigest()})
    files.write_json(new / "dataset.json", done.model_dump())
    return done


def write_numbers(folder: Path, info: DatasetInfo, numbers: Singles) -> DatasetInfo:
    """Write a data set of single numbers, float32 (N,); `info.density` says what they were drawn from."""
    done = info.model_copy(
        update={"counts": {"numbers": len(numbers)}, "sha256": hashlib.sha256(numbers.tobytes()).hexdigest()}
    )
    with files.new_folder(folder) as new:
        np.save(new / "numbers.npy", numbers)
        files.write_json(new / "dataset.json", done.model_dump())
    return done


def read_info(folder: Path) -> DatasetInfo:
    """Read a data set's description. Raises DatasetError when the folder holds none."""
    try:
        return DatasetInfo.model_validate_json((folder / "dataset.json").read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder} is not a data set: {error}") from error


def read_blocks(folder: Path, characters: int = 1 << 20) -> Iterator[list[str]]:
    """The documents of a text data set in blocks of about `characters`, one a line, each with the "\\n" it ends in."""
    with (folder / "text.txt").open(encoding="utf-8", newline="\n") as file:  # only "\n" ends a line
        while lines := file.readlines(characters):
            yield lines


def read_lines(folder: Path) -> Iterator[str]:
    """The documents of a text data set, one a line."""
    for lines in read_blocks(folder):
        for line in lines:
            yield line.rstrip("\n")


def read_images(folder: Path) -> tuple[Pictures, Labels | None]:
    """The pictures, memory-mapped, and their labels if there are any."""
    images: Pictures = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    path = folder / "labels.npy"
    return images, np.load(path, allow_pickle=False) if path.exists() else None


def read_numbers(folder: Path) -> tuple[Singles, Mixture]:
    """The numbers, and what they were drawn from. Raises DatasetError for a data set that does not say that."""
    density = read_info(folder).density
    if density is None:
        raise DatasetError(f"{folder} does not say what its numbers were drawn from; dataset.json must have a density")
    numbers: Singles = np.load(folder / "numbers.npy", allow_pickle=False)
    return numbers, density
