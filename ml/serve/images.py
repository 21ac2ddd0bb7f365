"""Pictures from a published image model: latents in, pixels out. Knows neither HTTP nor torch."""

import hashlib
import io
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from ml import artifact
from ml.artifact import ArtifactError, Manifest
from ml.data.images import to_image
from ml.latents import Latent, Seed, truncated
from ml.serve.session import open_session

Pixels = npt.NDArray[np.uint8]  # (H, W, C)

EDITION = 1  # of the bytes that a picture is drawn and encoded as; raised when they change: ETags are made of it

_NONE, _SUB, _UP = 0, 1, 2  # filters of PNG


class Sampler:
    """The generator and discriminator of one version. Raises ArtifactError when the folder does not hold them."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        if manifest.modality != "image":
            raise ArtifactError(f"a {manifest.family} model predicts words and draws no pictures")
        try:
            self.latent_size = int(manifest.serving["latent"])
            self.labels = list(manifest.serving["labels"])
            calibration = manifest.serving.get("calibration", {"scale": 1, "offset": 0})  # older versions have none
            self._scale, self._offset = float(calibration["scale"]), float(calibration["offset"])
            if not math.isfinite(self._scale + self._offset):
                raise ValueError("the calibration is not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the manifest does not say how to draw: {error}") from error
        self.manifest = manifest
        self.identity = hashlib.sha256(manifest.model_dump_json().encode()).hexdigest()  # it holds all files' hashes
        self._generator = open_session(folder / "generator.onnx")
        self._discriminator = open_session(folder / "discriminator.onnx")
        shapes = {given.name: given.shape for given in self._discriminator.get_inputs()}
        try:
            _, self.channels, self.size, _ = map(int, shapes["picture"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"discriminator.onnx does not say what pictures it takes: {shapes}") from error

    @classmethod
    def open(cls, folder: Path) -> "Sampler":
        """Verify the folder's hashes, then load it."""
        return cls(folder, artifact.verify(folder))

    def draw(self, point: Latent | int, truncation: float = 1.0, label: int | None = None) -> npt.NDArray[np.float32]:
        """The picture of a latent or a seed, float (1, C, S, S) in [-1, 1], of the class `label` if there are any.

        Always one a run: nothing beside it changes a bit. Without a label the latent decides.
        """
        point = Seed(point) if isinstance(point, int) else point
        z = truncated(point.z(self.latent_size), truncation)[None]
        (picture,) = self._generator.run(None, {"z": z} | self._label(self.label_of(point, label)))
        out: npt.NDArray[np.float32] = picture
        return out

    def label_of(self, point: Latent, label: int | None = None) -> int | None:
        """The class that a picture is drawn of: `label`, or the latent's own; None where there are no classes."""
        if not self.labels:
            return None
        return point.label(len(self.labels)) if label is None else label

    def realness(self, picture: npt.NDArray[np.float32], label: int | None = 0) -> float:
        """The discriminator's probability that a picture (1, C, S, S) is a real one, of the class `label`.

        Calibrated when the version was made (ml/calibration.py): at 0.5 it cannot tell.
        """
        (logit,) = self._discriminator.run(None, {"picture": picture} | self._label(label))
        return float(1 / (1 + np.exp(-np.clip(self._scale * logit[0] + self._offset, -60, 60))))

    def realness_of_any(self, picture: npt.NDArray[np.float32]) -> tuple[float, int | None]:
        """The realness of a picture whose class nobody knows: of the class that it suits best, which comes along."""
        labels = range(len(self.labels)) if self.labels else [None]
        return max((self.realness(picture, label), label) for label in labels)  # only one of them is ever None

    def _label(self, label: int | None) -> dict[str, npt.NDArray[np.int64]]:
        return {"label": np.array([label or 0], np.int64)} if self.labels else {}


def to_pixels(picture: npt.NDArray[np.float32]) -> Pixels:
    """(1, C, S, S) in [-1, 1] -> uint8 (S, S, C)."""
    scaled = np.clip(np.rint((picture[0] + 1) * 127.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(scaled.transpose(1, 2, 0))


def from_pixels(pixels: Pixels) -> npt.NDArray[np.float32]:
    """uint8 (S, S, C) -> (1, C, S, S) in [-1, 1]: what a network sees of a picture that was handed out."""
    return pixels.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(127.5) - np.float32(1)


def enlarge(pixels: Pixels, scale: int) -> Pixels:
    """Every pixel as a square of `scale` pixels."""
    return pixels if scale == 1 else pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def encode(pixels: Pixels, format: Literal["png", "webp"], notes: Mapping[str, str], scale: int = 1) -> bytes:
    """Pixels, enlarged, as a lossless PNG, with `notes` as its text chunks, or WebP."""
    if format == "png":
        return encode_png(pixels, notes, scale)
    out = io.BytesIO()
    to_image(enlarge(pixels, scale)).convert("RGB").save(out, "webp", lossless=True, method=2)
    return out.getvalue()


def encode_png(pixels: Pixels, notes: Mapping[str, str], scale: int = 1) -> bytes:
    """A lossless PNG, 10 to 50 times faster than Pillow's default: one filter for all rows, ISA-L level 1.

    Format: PNG (W3C), sections 5 and 9. The text chunks (`notes`, Latin-1) make a downloaded picture say what it is.
    """
    height, width, channels = pixels.shape
    scanlines = _filtered(pixels.repeat(scale, axis=1) if scale > 1 else pixels, scale)
    header = struct.pack(">IIBBBBB", width * scale, height * scale, 8, 2 if channels == 3 else 0, 0, 0, 0)
    texts = [key.encode("latin-1") + b"\0" + value.encode("latin-1", "replace") for key, value in notes.items()]
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            *(_chunk(b"tEXt", text) for text in texts),
            _chunk(b"IDAT", isal_zlib.compress(scanlines, level=1)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((len(data).to_bytes(4), kind, data, isal_zlib.crc32(data, isal_zlib.crc32(kind)).to_bytes(4)))


def _filtered(pixels: Pixels, scale: int) -> Pixels:
    """The bytes to compress: each row with the filter that was measured smallest, and its `scale - 1` repetitions as
    'up', which leaves nothing of them."""
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels)
    out = np.zeros((height, scale, width * channels + 1), dtype=np.uint8)
    out[:, 1:, 0] = _UP
    first, drawn = out[:, 0, 0], out[:, 0, 1:]
    if channels == 1 and scale == 1:
        first[:] = _NONE
        drawn[:] = rows
    elif channels == 3 and scale > 3:
        first[:] = _UP
        drawn[:1] = rows[:1]
        np.subtract(rows[1:], rows[:-1], out=drawn[1:])  # modulo 256, as the filters want it
    else:
        first[:] = _SUB
        drawn[:, :channels] = rows[:, :channels]
        np.subtract(rows[:, channels:], rows[:, :-channels], out=drawn[:, channels:])
    return out
