"""A tiny model with labels, made without training: what it draws shows its label."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ml import artifact
from ml.artifact import Manifest
from ml.export import export_onnx

LABELS = ["left", "right", "7"]
SIZE, LATENT = 12, 8


def _places() -> Tensor:
    """(3, 1, S, S): a third of the picture each, 1 inside and -1 outside."""
    out = -torch.ones(len(LABELS), 1, SIZE, SIZE)
    for label in range(len(LABELS)):
        out[label, :, :, 4 * label : 4 * label + 4] = 1
    return out


class Generator(nn.Module):
    """z (1, Z), label (1,) -> (1, 1, S, S): the label's third bright, with a texture that is z's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("places", _places())
        self.texture = nn.Linear(LATENT, SIZE * SIZE)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return torch.tanh(2 * self.places[label] + self.texture(z).view(-1, 1, SIZE, SIZE))


class Discriminator(nn.Module):
    """picture (1, 1, S, S), label (1,) -> logits (1,): how well it fits the label's place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", _places())

    def forward(self, picture: Tensor, label: Tensor) -> Tensor:
        return (picture * self.places[label]).mean((1, 2, 3))


def write_conditional(folder: Path, like: Path, **changes: object) -> Manifest:
    """A version at `folder` whose card is that of `like` but for its serving and `changes`."""
    manifest = artifact.read(like)
    serving = {"latent": LATENT, "size": SIZE, "channels": 1, "labels": LABELS}
    serving["calibration"] = {"scale": 4.0, "offset": -1.0}

    def fill(new: Path) -> Manifest:
        label = torch.zeros(1, dtype=torch.int64)
        z, picture = torch.zeros(1, LATENT), torch.zeros(1, 1, SIZE, SIZE)
        export_onnx(Generator().eval(), (z, label), new / "generator.onnx", ["z", "label"], ["picture"])
        given = ["picture", "label"]
        export_onnx(Discriminator().eval(), (picture, label), new / "discriminator.onnx", given, ["logit"])
        return manifest.model_copy(update={"serving": serving, "files": {}, **changes})

    return artifact.write(folder, fill)
