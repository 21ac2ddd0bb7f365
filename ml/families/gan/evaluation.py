"""How good drawn pictures are, against real ones. Must not know: networks, or what is done about it."""

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor

from ml import metrics
from ml.data.store import Labels
from ml.families.gan.features import RandomFeatures
from ml.metrics import Floats

MOST = 2000  # pictures of a kind that figures are taken from: distances depend on their number
SEARCHED = 10_000  # training pictures that copies are looked for among
SIDE = 16  # in pixels, of the pictures that are compared one by one: a slight blur, and 30 MB of them at most
CLASSES = 20  # whose shares are told one by one

Figures = dict[str, float]


class Reference:
    """Real pictures (N, C, S, S) as drawn ones are compared with them; kept, since they are the same every time."""

    def __init__(self, real: Tensor) -> None:
        self.pictures = real
        self.features = RandomFeatures(real.shape[1])
        self.seen = self.features(real)
        self.variance = _variance(real)

    def compare(self, drawn: Tensor) -> Figures:
        """Figures of drawn pictures (N, C, S, S) in the fixed random features, and their spread.

        `spread` is the variance of the drawn pictures' pixels over that of the real ones': near 0, all are one picture.
        """
        made = self.features(drawn)
        return {
            "frechet_distance": metrics.frechet_distance(self.seen, made),
            **metrics.neighbourhoods(self.seen, made),
            "spread": _variance(drawn) / self.variance if self.variance > 0 else 1.0,
        }


def _variance(pictures: Tensor) -> float:
    return float(thumbnails(pictures).var(0).sum())


def thumbnails(pictures: Tensor) -> npt.NDArray[np.float32]:
    """(N, C, S, S) -> (N, C * SIDE * SIDE)."""
    small: npt.NDArray[np.float32] = F.adaptive_avg_pool2d(pictures, SIDE).flatten(1).numpy()
    return small


class Known:
    """The training pictures, to find copies of them by: about SEARCHED at most, evenly from all.

    `held_out` are pictures of the same kind that were not trained on; `labels` the training pictures' classes, if any.
    """

    def __init__(self, train: Floats, held_out: Floats, labels: Labels | None, classes: list[str]) -> None:
        self.train, self.labels, self.classes = train, labels, classes
        self.room = metrics.nearest(train, held_out)[1]

    def figures(self, drawn: Tensor) -> Figures:
        """`near_copies`; with labels also `share_…` of each class, by the class of the nearest training picture, and
        `least_share`, the share of the class drawn least over its share of the training pictures."""
        small = thumbnails(drawn)
        told = {"near_copies": metrics.near_copies(small, self.train, self.room)}
        if self.labels is None:
            return told
        count = len(self.classes)
        index, _ = metrics.nearest(small, self.train)
        drawn_shares = np.bincount(self.labels[index], minlength=count) / len(small)
        shares = np.bincount(self.labels, minlength=count) / len(self.labels)
        if count <= CLASSES:
            told |= {f"share_{name}": float(share) for name, share in zip(self.classes, drawn_shares, strict=True)}
        told["least_share"] = float((drawn_shares[shares > 0] / shares[shares > 0]).min())
        return told
