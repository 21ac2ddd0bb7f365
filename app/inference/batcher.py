"""One thread that answers whatever waits, and a bounded queue in front of it. Knows no model.

Measured against worker pools and the event loop itself: one thread with no timer, taking at most 32, gives the best
throughput and tail on these models, because a forward pass of many costs little more than one of few.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, NamedTuple, TypeVar

from app.core.errors import Busy, DeadlinePassed, NotReady
from app.core.telemetry import timing

K = TypeVar("K", bound=Hashable)  # what may be answered together, e.g. one model
Q = TypeVar("Q")
A = TypeVar("A")


class _Item(NamedTuple, Generic[K, Q, A]):
    key: K
    question: Q
    answer: "Future[tuple[A, float, float]]"  # with when it began, and ended
    put_at: float


class Batcher(Generic[K, Q, A]):
    """Calls `run(key, questions)` on its own thread with up to `most` questions of one key at a time."""

    def __init__(self, name: str, run: Callable[[K, list[Q]], list[A]], size: int, most: int = 32) -> None:
        self._run, self._most = run, most
        self._queue: queue.Queue[_Item[K, Q, A] | None] = queue.Queue(size)
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"inference-{name}", daemon=True)
        self._thread.start()

    async def submit(self, key: K, question: Q, deadline: float) -> A:
        """The answer. Raises Busy (the queue is full), DeadlinePassed (after `deadline` seconds), or what `run` did."""
        if self._closed:
            raise NotReady("the service is stopping", retry_after=2)
        item = _Item[K, Q, A](key, question, Future(), time.perf_counter())
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            raise Busy("too many requests are waiting; try again in a moment", retry_after=1) from None
        try:
            answer, began, ended = await asyncio.wait_for(asyncio.wrap_future(item.answer), deadline)
        except TimeoutError:
            raise DeadlinePassed(f"no answer within {deadline:g} seconds") from None
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
                if item.answer.set_running_or_notify_cancel():  # its caller may have left
                    groups.setdefault(item.key, []).append(item)
            for key, items in groups.items():
                self._answer(key, items)
            if last:
                return

    def _answer(self, key: K, items: list[_Item[K, Q, A]]) -> None:
        began = time.perf_counter()
        try:
            answers = self._run(key, [item.question for item in items])
        except Exception as error:
            for item in items:
                item.answer.set_exception(error)
            return
        ended = time.perf_counter()
        for item, answer in zip(items, answers, strict=True):
            item.answer.set_result((answer, began, ended))
