"""The arrays of a safetensors file, which stay in it and are read where they are looked at. Knows no model.

Several processes share what they read, and the system takes it back where memory is short. The file may be deleted
meanwhile, but not be written to: the files of a version never are.
"""

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"} | {
    f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)
}


class Mapped:
    """Raises OSError, or safetensors' own error when the file is none."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, framework="numpy") as checked:
            self.names = list(checked.keys())
        with path.open("rb") as file:
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # The format: eight bytes say how long the JSON is that says where everything is, counted from its end.
        self._begin = 8 + int.from_bytes(self._memory[:8], "little")
        self._said = json.loads(self._memory[8 : self._begin])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """The array, not to be written to. Raises KeyError for a name, or a type of numbers, that is not known."""
        said = self._said[name]
        kind, (begin, behind) = np.dtype(TYPES[said["dtype"]]), said["data_offsets"]
        flat = np.frombuffer(self._memory, kind, (behind - begin) // kind.itemsize, self._begin + begin)
        return flat.reshape(said["shape"])

    def forget(self) -> None:
        """Keep no memory for what was looked at until now: pages of a file that were read count as memory."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED)
