"""The LSTM of a text model: contexts of ids in, rows of probabilities out. Knows no words.

Contexts that are asked together are read together, whatever their lengths; what was read before is not read again.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ml.serve.session import open_session
from ml.serve.state_cache import StateCache

Row = npt.NDArray[np.float32]  # (V,)
Rows = npt.NDArray[np.float32]  # (B, V)
Ids = npt.NDArray[np.int64]  # (B, T)
State = npt.NDArray[np.float32]  # (layers, B, H): h or c
Hidden = tuple[State, ...]  # h and c; empty for the first versions, whose graph takes none

LOOK_BACK = 4  # ids by which a context may be longer than the one that its state is taken from
_numbers = count()


@dataclass
class _Reading:
    """A context that is being read: where in it, and the state there."""

    key: bytes
    ids: Sequence[int]
    at: int
    hidden: Hidden


class Engine(Protocol):
    """What reads: `zeros` is the state before anything was read, of one context; empty where states cannot be given."""

    zeros: Hidden

    def run(self, ids: Ids, hidden: Sequence[State], heard: int) -> list[npt.NDArray[np.float32]]:
        """Read ids (B, T) on behind `hidden`: what may follow the first `heard` (heard, V), each row summing to 1, then
        h and c of all."""


class Fused:
    """The exported graph, of whatever LSTM it is. Raises ArtifactError when the file does not load."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)
        shapes = {wanted.name: wanted.shape for wanted in self._session.get_inputs()}
        self._names = [name for name in ("h", "c") if name in shapes]
        self.zeros: Hidden = tuple(np.zeros((shapes[name][0], 1, shapes[name][2]), np.float32) for name in self._names)

    def run(self, ids: Ids, hidden: Sequence[State], heard: int) -> list[npt.NDArray[np.float32]]:
        asked = self._asked(ids, np.full(heard, ids.shape[1], dtype=np.int64), hidden)
        wanted = ["logits", *(f"{name}_out" for name in self._names)]
        logits, *after = self._session.run(wanted, asked)
        return [_softmax(logits), *after]

    def last(self, ids: Ids, lengths: npt.NDArray[np.int64]) -> Rows:
        """What may follow the first `lengths` (B,) of ids (B, T), read from the start: (B, V)."""
        hidden = [np.repeat(zeros, len(ids), 1) for zeros in self.zeros]
        return _softmax(self._session.run(["logits"], self._asked(ids, lengths, hidden))[0])

    def _asked(self, ids: Ids, lengths: npt.NDArray[np.int64], hidden: Sequence[State]) -> dict[str, object]:
        return {"ids": ids, "lengths": lengths, **dict(zip(self._names, hidden, strict=True))}


class Network:
    """`start` is the id before a text. Without `states` nothing is remembered."""

    def __init__(self, engine: Engine, start: int, states: StateCache | None) -> None:
        self.start, self._engine, self._states = start, engine, states
        self._number = next(_numbers)  # tells its entries from those of other versions
        self._zeros = engine.zeros
        self._begun = None if states is None else self._try_start()

    @property
    def carries(self) -> bool:
        """Whether it gives its hidden state and goes on from one."""
        return bool(self._zeros)

    def probabilities(self, contexts: Sequence[Sequence[int]]) -> Rows:
        """What may follow each context: (N, V), each row summing to 1. Nothing is remembered."""
        if not isinstance(self._engine, Fused):
            readings = [_Reading(b"", context, 0, self._zeros) for context in contexts]
            made = {id(reading): row for reading, row, _ in self._work_out(list(readings))}
            return np.stack([made[id(reading)] for reading in readings])
        lengths = np.array([len(context) for context in contexts], dtype=np.int64)
        ids = np.full((len(contexts), int(lengths.max())), self.start, dtype=np.int64)
        for context, at in zip(contexts, ids, strict=True):
            at[: len(context)] = context  # padded on the right, which an LSTM read up to `lengths` never sees
        return self._engine.last(ids, lengths)

    def read(self, ids: npt.NDArray[np.integer], hidden: Sequence[State] | None = None) -> tuple[Rows, list[State]]:
        """Read ids (B, T) on behind `hidden`, or as the first: what may follow (B, V), and h and c, (layers, B, H)."""
        before = hidden or [np.repeat(zeros, len(ids), 1) for zeros in self._zeros]
        rows, *after = self._run(ids.astype(np.int64), before, len(ids))
        return rows, after

    def rows(self, contexts: Sequence[Sequence[int]]) -> list[Row]:
        """What may follow each context, one row (V,) each, not to be written to.

        What is remembered of a context, or of one that it begins with, is used; it makes no difference but of rounding.
        """
        if self._begun is None or self._states is None:
            return list(self.probabilities(contexts))
        keys = [_key(context) for context in contexts]
        found: dict[bytes, Row] = {}
        to_read: dict[bytes, _Reading] = {}
        for key, context in zip(keys, contexts, strict=True):
            if key in found or key in to_read:
                continue
            kept = self._states.rows.get((self._number, key))
            if kept is not None:
                found[key] = kept[0]
            else:
                to_read[key] = self._reading(key, context, self._states)
        if to_read:
            for reading, row, hidden in self._work_out(list(to_read.values())):
                found[reading.key] = row
                self._states.rows.keep((self._number, reading.key), (row,))
                self._states.states.keep((self._number, reading.key), hidden)
        return [found[key] for key in keys]

    def remembered(self, context: Sequence[int]) -> Row | None:
        """What `rows` would give, where it need not read for it."""
        kept = self._states.rows.get((self._number, _key(context))) if self._states is not None else None
        return kept[0] if kept is not None else None

    def _try_start(self) -> Hidden | None:
        """The state behind `start` alone; None where the graph does not let a context be read in pieces."""
        if not self._zeros:
            return None
        ids = np.full((2, 1), self.start, dtype=np.int64)
        try:
            rows, *after = self._run(ids, [np.repeat(zeros, 2, 1) for zeros in self._zeros], 1)
        except Exception:  # ONNX Runtime's exceptions share no base of their own
            return None
        return tuple(state[:, :1].copy() for state in after) if len(rows) == 1 else None

    def _reading(self, key: bytes, ids: Sequence[int], states: StateCache) -> _Reading:
        for less in range(1, min(LOOK_BACK, len(ids) - 1) + 1):
            kept = states.states.get((self._number, key[: -4 * less]))
            if kept is not None:
                return _Reading(key, ids, len(ids) - less, kept)
        if self._begun is not None and len(ids) > 1 and ids[0] == self.start:
            return _Reading(key, ids, 1, self._begun)
        return _Reading(key, ids, 0, self._zeros)

    def _work_out(self, readings: list[_Reading]) -> Iterator[tuple[_Reading, Row, Hidden]]:
        """Read all to their ends, the last id of all at once: the wide output layer is worked out then, and only then.

        Up to there they are read in stretches in which none ends: no id is read that is not there. Gives each with its
        row and the state behind it.
        """
        readings.sort(key=lambda reading: reading.at - len(reading.ids))  # what has most left comes first
        left = [len(reading.ids) - reading.at for reading in readings]
        hidden = [np.concatenate(states, 1) for states in zip(*(r.hidden for r in readings), strict=True)]
        ahead, live = 0, len(readings)  # how far all that are live have been read
        last = left[-1] if left[0] == left[-1] else 1  # ids that all read together, at the end
        while left[0] - ahead > last:
            while left[live - 1] - ahead <= last:
                live -= 1
            step = left[live - 1] - last - ahead
            ids = np.array([r.ids[r.at + ahead : r.at + ahead + step] for r in readings[:live]], dtype=np.int64)
            _, *after = self._run(ids, [np.ascontiguousarray(state[:, :live]) for state in hidden], 0)
            for state, new in zip(hidden, after, strict=True):
                state[:, :live] = new
            ahead += step
        ids = np.array([r.ids[-last:] for r in readings], dtype=np.int64)
        rows, *hidden = self._run(ids, hidden, len(readings))
        for i, reading in enumerate(readings):
            row: Row = rows[i].copy()  # of its own: a view would keep those of all the others, too
            row.flags.writeable = False
            yield reading, row, tuple(state[:, i : i + 1].copy() for state in hidden)

    def _run(self, ids: Ids, hidden: Sequence[State], heard: int) -> list[npt.NDArray[np.float32]]:
        return self._engine.run(ids, hidden, heard)


def _key(context: Sequence[int]) -> bytes:
    """Four bytes an id: that of a context's beginning is the key's beginning."""
    return array("i", context).tobytes()


def _softmax(logits: Rows) -> Rows:
    """In place."""
    logits -= logits.max(1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(1, keepdims=True)
    return logits
