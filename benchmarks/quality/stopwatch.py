"""CPU seconds, the currency in which everyone is paid here. Must not know: what they are spent on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """CPU seconds of this process since it was made, all its threads together, without those spent `paused`.

    Wall time says nothing on a machine that others use; CPU time is what each contestant really had.
    """

    def __init__(self) -> None:
        self._start = time.process_time()

    def __call__(self) -> float:
        return time.process_time() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do something that is no part of the contest, such as a look at the curve."""
        begun = time.process_time()
        try:
            yield
        finally:
            self._start += time.process_time() - begun
