"""Numbers from a published one-dimensional GAN: a seed in, draws and their chart out. Knows neither HTTP nor torch."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml import artifact
from ml.artifact import ArtifactError, Manifest
from ml.data import numbers
from ml.data.numbers import DRAWS, Mixture, noise
from ml.serve.session import open_session

Draws = npt.NDArray[np.float32]  # (N,)


class Density:
    """The generator and discriminator of one version. Raises ArtifactError when the folder does not hold them."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        if manifest.modality != "number":
            raise ArtifactError(f"a {manifest.family} model of {manifest.modality}s draws no single numbers")
        try:
            self.truth = Mixture.model_validate(manifest.serving["density"])
        except (KeyError, ValueError) as error:
            raise ArtifactError(f"the manifest does not say what the numbers are to be like: {error}") from error
        self.manifest = manifest
        self._generator = open_session(folder / "generator.onnx")
        self._discriminator = open_session(folder / "discriminator.onnx")

    @classmethod
    def open(cls, folder: Path) -> "Density":
        """Verify the folder's hashes, then load it."""
        return cls(folder, artifact.verify(folder))

    def draw(self, seed: int) -> Draws:
        """The DRAWS numbers of a seed, always that many in one run: a seed's are the same for years."""
        (drawn,) = self._generator.run(None, {"z": noise(seed, DRAWS)})
        out: Draws = drawn[:, 0]
        return out

    def realness(self, drawn: Draws) -> npt.NDArray[np.float64]:
        """The discriminator's probability for each of the numbers (N,) that it is a real one."""
        (logits,) = self._discriminator.run(None, {"number": drawn[:, None]})
        out: npt.NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits[:, 0].astype(np.float64), -60, 60)))
        return out

    def chart(self, drawn: Draws, title: str) -> npt.NDArray[np.uint8]:
        """The numbers' histogram with the true density over it: uint8 (H, W, 3)."""
        note = f"KS distance {self.truth.ks_distance(drawn):.3f}"
        return np.asarray(numbers.histogram(drawn, self.truth, title, note))
