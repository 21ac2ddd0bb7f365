"""Predictors that know what was learned under their model's name. Must not know: HTTP, where versions come from."""

import threading
from collections.abc import Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

from app.core.tables import Phrase
from ml.serve.text import NextWord


class Taught(Protocol):
    """Where phrases are kept."""

    def stamps(self) -> dict[str, tuple[int, int]]: ...

    def phrases(self, name: str) -> Sequence[Phrase]: ...


class Knowing:
    """Follows what is learned, and gives each predictor in memory a companion that knows it too."""

    def __init__(self, taught: Taught) -> None:
        self.taught = taught
        self._phrases: dict[str, tuple[str, ...]] = {}  # by the model's name; replaced, never changed
        self._stamps: dict[str, tuple[int, int]] = {}
        self._made: WeakKeyDictionary[NextWord, tuple[tuple[str, ...], NextWord]] = WeakKeyDictionary()
        self._look, self._make = threading.Lock(), threading.Lock()

    def follow(self) -> None:
        """Read the phrases that changed. Whoever returns from here has seen all that was committed before."""
        with self._look:
            stamps = self.taught.stamps()
            changed = {name for name, stamp in stamps.items() if self._stamps.get(name) != stamp}
            phrases = {name: kept for name, kept in self._phrases.items() if name in stamps}
            for name in changed:
                phrases[name] = tuple(phrase.text for phrase in self.taught.phrases(name))
            self._phrases, self._stamps = phrases, stamps
            for predictor, (known, _) in list(self._made.items()):
                if not any(known is kept for kept in phrases.values()):  # what was forgotten is in no memory either
                    self._made.pop(predictor, None)

    def ready(self, name: str, predictor: NextWord) -> NextWord | None:
        """What answers for a model now; None when it is still to be made."""
        phrases = self._phrases.get(name)
        if not phrases:
            return predictor
        made = self._made.get(predictor)
        return made[1] if made is not None and made[0] is phrases else None

    def make(self, name: str, predictor: NextWord) -> NextWord:
        """The same, made now: some milliseconds for each thousand words of the phrases."""
        with self._make:
            made = self.ready(name, predictor)
            if made is None:
                phrases = self._phrases.get(name, ())
                made = predictor.knowing(phrases)
                if phrases:
                    self._made[predictor] = phrases, made
            return made
