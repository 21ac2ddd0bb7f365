"""What is shown of a data set at a glance: preview.png of pictures or numbers, preview.json of a text, in its folder.

Must not know: who looks at it.
"""

from pathlib import Path

import numpy as np

from ml import files
from ml.data import images, numbers, store, texts

PICTURES = 36
COLUMNS = 6


def ensure(folder: Path) -> Path:
    """The preview of the data set in `folder`, made now if there is none. Raises DatasetError, OSError."""
    modality = store.read_info(folder).modality
    path = folder / ("preview.json" if modality == "text" else "preview.png")
    make = {"text": texts.preview, "image": write_grid, "number": write_chart}[modality]
    if not path.exists():
        make(folder)
    return path


def write_grid(folder: Path) -> None:
    """Write preview.png: up to PICTURES pictures, spread over images.npy."""
    pictures, _ = store.read_images(folder)
    chosen = np.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).round().astype(np.int64)
    sheet = images.to_image(images.grid(pictures[chosen], COLUMNS))
    files.write_with(folder / "preview.png", sheet.save)


def write_chart(folder: Path) -> None:
    """Write preview.png: a histogram of the numbers, and the density that they were drawn from."""
    drawn, density = store.read_numbers(folder)
    sheet = numbers.histogram(drawn, density, store.read_info(folder).title)
    files.write_with(folder / "preview.png", sheet.save)
