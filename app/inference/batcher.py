"""One thread that answers whatever waits, and a bounded queue in front of it. Knows no model.

Measured against worker pools and the event loop itself: one thread with no timer, taking at most 32, gives the best
throughput and tail on these models, because a forward pass of many costs little more than one of few. Answers go back
to the event loop all at once: to wake it costs more than a small model's answer.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from app.core.errors import Busy, DeadlinePassed, NotReady
from app.core.metrics import Meter
from app.core.telemetry import timing

K = TypeVar("K", bound=Hashable)  # what may be answered together, e.g. one model
Q = TypeVar("Q")
A = TypeVar("A")


class _Item(NamedTuple, Generic[K, Q, A]):
    key: K
    question: Q
    answer: "asyncio.Future[tuple[A, float, float]]"  # with when it began, and ended
    put_at: float


class Batcher(Generic[K, Q, A]):
    """Calls `run(key, questions)` on its own thread with up to `most` questions of one key at a time."""

    def __init__(
        self, name: str, run: Callable[[K, list[Q]], list[A]], size: int, most: int = 32, meter: Meter | None = None
    ) -> None:
        self._run, self._most, self._meter = run, most, meter
        self._size = size
        self._queue: queue.SimpleQueue[_Item[K, Q, A] | None] = queue.SimpleQueue()
        if meter is not None:
            meter.read_waiting(self._queue.qsize)
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"inference-{name}", daemon=True)
        self._thread.start()

    async def submit(self, key: K, question: Q, deadline: float) -> A:
        """The answer. Raises Busy (the queue is full), DeadlinePassed (after `deadline` seconds), or what `run` did."""
        if self._closed:
            raise NotReady("the service is stopping", retry_after=2)
        if self._queue.qsize() >= self._size:
            if self._meter is not None:
                self._meter.rejected.inc()
            raise Busy("too many requests are waiting; try again in a moment", retry_after=1)
        loop = asyncio.get_running_loop()
        item: _Item[K, Q, A] = _Item(key, question, loop.create_future(), time.perf_counter())
        self._queue.put(item)
        late = loop.call_later(deadline, _expire, item.answer, deadline)
        try:
            answer, began, ended = await item.answer
        finally:
            late.cancel()
        timing("queue", began - item.put_at)
        timing("model", ended - began)
        return answer

    def close(self) -> None:
        """Answer what waits, then end the thread."""
        self._closed = True
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            waiting: list[_Item[K, Q, A]] = [first]
            last = False
            while len(waiting) < self._most and not last:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                last = item is None
                if item is not None:
                    waiting.append(item)
            groups: dict[K, list[_Item[K, Q, A]]] = {}
            for item in waiting:
                if not item.answer.done():  # its caller may have left, or its time be over
                    groups.setdefault(item.key, []).append(item)
            for key, items in groups.items():
                self._answer(key, items)
            if last:
                return

    def _answer(self, key: K, items: list[_Item[K, Q, A]]) -> None:
        began, loops = time.perf_counter(), {item.answer.get_loop() for item in items}
        try:
            answers, failed = self._run(key, [item.question for item in items]), None
        except Exception as error:
            answers, failed = [], error
        ended = time.perf_counter()
        if self._meter is not None and failed is None:
            self._meter.sizes.observe(len(items))

        def deliver(loop: asyncio.AbstractEventLoop) -> None:
            for i, item in enumerate(items):
                if item.answer.get_loop() is not loop:
                    continue
                if failed is not None:
                    _fail(item.answer, failed)
                elif not item.answer.done():
                    item.answer.set_result((answers[i], began, ended))

        for loop in loops:
            with suppress(RuntimeError):  # it was closed meanwhile, and nobody waits
                loop.call_soon_threadsafe(deliver, loop)


def _expire(answer: "asyncio.Future[tuple[A, float, float]]", deadline: float) -> None:
    _fail(answer, DeadlinePassed(f"no answer within {deadline:g} seconds"))


def _fail(answer: "asyncio.Future[tuple[A, float, float]]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
