"""What is shown of a data set at a glance: preview.png of pictures, preview.json of a text, in its folder.

Must not know: who looks at it.
"""

from pathlib import Path

import numpy as np

from ml import files
from ml.data import images, store, texts

PICTURES = 36
COLUMNS = 6


def ensure(folder: Path) -> Path:
    """The preview of the data set in `folder`, made now if there is none. Raises DatasetError, OSError."""
    if store.read_info(folder).modality == "text":
        path, make = folder / "preview.json", texts.preview
    else:
        path, make = folder / "preview.png", write_grid
    if not path.exists():
        make(folder)
    return path


def write_grid(folder: Path) -> None:
    """Write preview.png: up to PICTURES pictures, spread over images.npy."""
    pictures, _ = store.read_images(folder)
    chosen = np.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).round().astype(np.int64)
    sheet = images.to_image(images.grid(pictures[chosen], COLUMNS))
    files.write_with(folder / "preview.png", sheet.save)
