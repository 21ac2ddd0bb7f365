"""A data set on disk: one folder, the same shape whether built in or uploaded.

    dataset.json   what it is: DatasetInfo
    text.txt       a text: UTF-8, one document a line
    images.npy     pictures: uint8 (N, H, W, C), C = 1 or 3
    labels.npy     class of each picture: int64 (N,), optional

Must not know: where the folder came from, or which family will read it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from ml import files

Modality = Literal["text", "image"]
Pictures = npt.NDArray[np.uint8]  # (N, H, W, C)
Labels = npt.NDArray[np.int64]  # (N,)


class DatasetInfo(BaseModel):
    """What a data set is and under what terms it may be used; copied into every card of a model made of it."""

    name: str
    title: str
    modality: Modality
    licence: str
    attribution: str
    counts: dict[str, int] = {}
    classes: list[str] = []
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
    digest = hashlib.sha256(images.tobytes() + (b"" if labels is None else labels.tobytes())).hexdigest()
    count, height, width, channels = images.shape
    counts = {"pictures": count, "height": height, "width": width, "channels": channels}
    done = info.model_copy(update={"counts": counts, "sha256": digest})
    with files.new_folder(folder) as new:
        np.save(new / "images.npy", images)
        if labels is not None:
            np.save(new / "labels.npy", labels)
        files.write_json(new / "dataset.json", done.model_dump())
    return done


def read_info(folder: Path) -> DatasetInfo:
    """Read a data set's description. Raises DatasetError when the folder holds none."""
    try:
        return DatasetInfo.model_validate_json((folder / "dataset.json").read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder} is not a data set: {error}") from error


def read_lines(folder: Path) -> Iterator[str]:
    """The documents of a text data set, one a line."""
    with (folder / "text.txt").open(encoding="utf-8", newline="\n") as file:  # only "\n" ends a line
        for line in file:
            yield line.rstrip("\n")


def read_images(folder: Path) -> tuple[Pictures, Labels | None]:
    """The pictures, memory-mapped, and their labels if there are any."""
    images: Pictures = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    path = folder / "labels.npy"
    return images, np.load(path, allow_pickle=False) if path.exists() else None
