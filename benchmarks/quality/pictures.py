"""The pictures that are compared on, and what is measured of drawn ones: the same code for everyone.

Must not know: models.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.quality.classifier import Classifier, open_classifier
from benchmarks.quality.gans import to_tensor
from ml import files, metrics
from ml.data import builtin, images, store
from ml.data.store import DatasetInfo, Labels, Pictures
from ml.families.gan.features import RandomFeatures

DRAWS = 4  # sets of as many pictures as are held out: distances are of all together, other figures means of the sets
THUMBNAIL = 16  # pixels a side, for pictures compared one by one
CLASS_PRESENT = 0.02  # of the pictures: a class with fewer does not count as drawn


@dataclass(frozen=True)
class PictureSet:
    """A data-set folder of the product, and the parts it is judged by: uint8 (N, S, S, C)."""

    name: str
    source: Path
    train: Pictures
    validation: Pictures
    test: Pictures
    judge: Classifier | None

    def held_out(self, part: str) -> Pictures:
        return self.test if part == "test" else self.validation

    def fingerprint(self, part: str) -> str:
        """Of what is measured on, and with how many: distances depend on it."""
        real = self.held_out(part)
        return hashlib.sha256(real.tobytes() + str(DRAWS * len(real)).encode()).hexdigest()[:16]

    def score(self, part: str, draws: list[Pictures]) -> dict[str, float]:
        """The figures of `draws` against the held-out `part`, and the floors: the other part's."""
        real, other = self.held_out(part), self.held_out("validation" if part == "test" else "test")
        told = [self._figures(real, drawn) for drawn in draws]
        means = {name: float(np.mean([figures[name] for figures in told])) for name in told[0]}
        means |= self._distances(real, np.concatenate(draws))
        floors = {f"floor_{name}": value for name, value in self._figures(real, other).items()}
        floors |= {f"floor_{name}": value for name, value in self._distances(real, other).items()}
        return means | floors | {"pictures": len(real), "classes": min(f.get("classes", 0) for f in told)}

    def right(self, draws: list[Pictures]) -> float:
        """The share of pictures that the judge takes for what they were asked to be: 0 to 9, again and again."""
        assert self.judge is not None
        verdicts = [self.judge.look(drawn)[1] for drawn in draws]
        return float(np.mean([verdict == np.arange(len(verdict)) % 10 for verdict in verdicts]))

    def random_distance(self, part: str, drawn: Pictures) -> float:
        return self._random_distance(self.held_out(part), drawn)

    def _distances(self, real: Pictures, drawn: Pictures) -> dict[str, float]:
        told = {"random_distance": self._random_distance(real, drawn)}
        if self.judge is not None:
            seen, made = (self.judge.look(pictures)[0] for pictures in (real, drawn))
            told["classifier_distance"] = metrics.frechet_distance(seen, made)
        return told

    def _random_distance(self, real: Pictures, drawn: Pictures) -> float:
        features = RandomFeatures(real.shape[3])
        return metrics.frechet_distance(features(to_tensor(real)), features(to_tensor(drawn)))

    def _figures(self, real: Pictures, drawn: Pictures) -> dict[str, float]:
        told: dict[str, float] = {}
        if self.judge is not None:
            (seen, _), (made, verdicts) = self.judge.look(real), self.judge.look(drawn)
            shares = np.bincount(verdicts, minlength=10) / len(drawn)
            told = {"classes": float((shares >= CLASS_PRESENT).sum()), "least_share": float(shares.min())}
        else:
            features = RandomFeatures(real.shape[3])
            seen, made = features(to_tensor(real)), features(to_tensor(drawn))
        told |= metrics.neighbourhoods(seen, made)
        return told | {"near_copies": metrics.near_copies(thumbnails(drawn), *self._known)}

    @cached_property
    def _known(self) -> tuple[metrics.Floats, metrics.Floats]:
        """Thumbnails of what was trained on, and how far the nearest held-out picture is from each."""
        train = thumbnails(self.train)
        return train, metrics.nearest(train, thumbnails(np.concatenate([self.validation, self.test])))[1]


def thumbnails(pictures: Pictures) -> metrics.Floats:
    """(N, S, S, C) -> (N, THUMBNAIL * THUMBNAIL * C) in [0, 1]: slightly blurred, so that a shift of half a pixel
    is no other picture."""
    channels = pictures.shape[3]
    small = images.resize(pictures, THUMBNAIL, channels).reshape(len(pictures), -1)
    return np.divide(small, 255, dtype=np.float32)


def open_pictures(name: str, size: int, folder: Path) -> PictureSet:
    """A built-in set ("mnist"), or so many of its training pictures ("faces-200"), at `size` pixels a side.

    A part keeps the whole set's held-out pictures: those of 200 are too few to tell anything by.
    """
    base, _, few = name.partition("-")
    whole = folder / base / "set"
    info = builtin.ensure(base, whole)
    pictures, labels = store.read_images(whole)
    every, validation, test = images.split(len(pictures))
    train, source = every, whole
    if few:
        spread = np.linspace(0, len(train) - 1, int(few)).astype(np.int64)  # it may be in the order of its classes
        train, source = train[spread], folder / name / "set"
        if not source.exists():
            source.parent.mkdir(parents=True, exist_ok=True)
            store.write_images(source, _info(name, info), np.ascontiguousarray(pictures[train]))
    small = images.resize(pictures, size, pictures.shape[3])
    judge = _judge(small[every], labels, every, folder) if base == "mnist" else None
    return PictureSet(name, source, small[train], small[validation], small[test], judge)


def _judge(pictures: Pictures, labels: Labels | None, train: npt.NDArray[np.int64], folder: Path) -> Classifier:
    assert labels is not None
    return open_classifier(folder / "judge.safetensors", pictures, labels[train])


def _info(name: str, whole: DatasetInfo) -> DatasetInfo:
    terms = {"licence": whole.licence, "attribution": whole.attribution}
    return DatasetInfo(name=name, title=f"part of {whole.name}", modality="image", **terms)


def save_grid(path: Path, pictures: Pictures, columns: int = 12, scale: int = 2) -> None:
    """The pictures in rows, each pixel as `scale` by `scale`."""
    sheet = images.to_image(images.grid(pictures, columns))
    larger = sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_with(path, lambda temporary: larger.save(temporary, "png", optimize=True))
