"""What a network worked out for contexts that were asked about lately, so that typing on costs one step and no more.

Two bounded memories: hidden states, from which a longer context goes on, and the rows of probabilities themselves, each
as wide as the vocabulary, which answer a context that comes back letter by letter. Must not know: networks, words.
"""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock

import numpy as np
import numpy.typing as npt

MOST_BYTES = 12 * 1024 * 1024
OVERHEAD = 500  # bytes that an entry takes beside its numbers

Array = npt.NDArray[np.float32]
Kept = tuple[Array, ...]


class Recent:
    """Arrays by key, `most_bytes` of them; those asked for least recently go first."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._lock = Lock()  # a version is tried on another thread than the one that answers

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def get(self, key: Hashable) -> Kept | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def keep(self, key: Hashable, arrays: Kept) -> None:
        """They must not change from now on."""
        with self._lock:
            if self._kept.setdefault(key, arrays) is not arrays:
                return
            self.bytes += _size(arrays)
            while self.bytes > self.most_bytes:
                self.bytes -= _size(self._kept.popitem(last=False)[1])


class StateCache:
    """The two memories of one process, shared by its networks."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.states, self.rows = Recent(most_bytes // 4), Recent(most_bytes - most_bytes // 4)

    @property
    def bytes(self) -> int:
        return self.states.bytes + self.rows.bytes


def _size(arrays: Kept) -> int:
    size = OVERHEAD
    for array in arrays:
        size += array.nbytes
    return size
