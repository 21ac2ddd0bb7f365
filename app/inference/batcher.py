"""One thread that answers whatever waits, and a bounded queue in front of it. Knows no model.

Measured against worker pools and the event loop itself: one thread with no timer, taking at most MOST, gives the best
throughput and tail on these models, because a forward pass of many costs little more than one of few. Answers go back
to the event loop all at once: to wake it costs more than a small model's answer.

The queue is bounded by how long a question would wait, which the time of the last batches tells: a count alone means
milliseconds with one model and seconds with another. A batch may always gather, or there would be small ones only.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from starlette.types import Receive

from app.core.errors import Busy, ClientGone, DeadlinePassed, NotReady
from app.core.metrics import Meter
from app.core.telemetry import leaver, receiver, timing

K = TypeVar("K", bound=Hashable)  # what may be answered together, e.g. one model
Q = TypeVar("Q")
A = TypeVar("A")

LOOK_SECONDS = 0.02  # between two looks at who waits: whether their time is over, whether they are still there
KEPT = 0.8  # share of what was known of the speed that stays after another batch
RETRY_AFTER = 1
TURNS = 8  # of the event loop, in which questions gather
MOST = 30  # questions together: matrix products take six rows at a time, and of 32 the last two cost as much as four


class Answered(NamedTuple, Generic[A]):
    """An answer, and when the model began with it and was done (`time.perf_counter`)."""

    answer: A
    began: float
    ended: float


class _Item(NamedTuple, Generic[K, Q, A]):
    key: K
    question: Q
    answer: "asyncio.Future[Answered[A]]"
    weight: float


class Batcher(Generic[K, Q, A]):
    """Calls `run(key, questions)` on its own thread with up to `most` questions of one key at a time.

    No more than `size` questions wait, and beyond `most` none that would wait longer than `seconds`; `weigh` says how
    much work one is.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[K, list[Q]], list[A]],
        size: int,
        most: int = MOST,
        meter: Meter | None = None,
        seconds: float = float("inf"),
        weigh: Callable[[Q], float] = lambda _: 1.0,
    ) -> None:
        self._run, self._most, self._meter, self._weigh = run, most, meter, weigh
        self._size, self._seconds = size, seconds
        self._queue: queue.SimpleQueue[_Item[K, Q, A] | None] = queue.SimpleQueue()
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Item[K, Q, A]]] = {}
        self._patience = _Patience()
        if meter is not None:
            meter.read_waiting(self._waiting)
        # Work put in and done with, each added to by one thread alone; and the pace of batches at least half full.
        self._put = self._done = 0.0
        self._spent = self._worked = 0.0
        self._closed = False
        self._last = 0  # questions that were handed over together
        self._thread = threading.Thread(target=self._serve, name=f"inference-{name}", daemon=True)
        self._thread.start()

    def _waiting(self) -> int:
        # A list first, in one step: other threads ask too, while event loops come and go in it.
        return self._queue.qsize() + sum(map(len, list(self._gathered.values())))

    @property
    def expected_wait(self) -> float:
        """Seconds until a question put in now would be begun with; 0 while no full batch has shown the pace."""
        return max(0.0, self._put - self._done) * self._spent / self._worked if self._worked else 0.0

    @property
    def full(self) -> bool:
        """Whether another question is refused."""
        if self._put - self._done < min(self._size, self._most):  # each weighs 1 or more: fewer wait
            return False
        waiting = self._waiting()
        return waiting >= self._size or (waiting >= self._most and self.expected_wait > self._seconds)

    def refused(self) -> None:
        """Count a question that was not taken."""
        if self._meter is not None:
            self._meter.rejected.inc()

    async def submit(self, key: K, question: Q, deadline: float, promised: bool = False) -> A:
        """The answer. `promised` is part of an answer that was begun, and is not refused.

        Raises Busy (it would wait too long), DeadlinePassed (after `deadline` seconds), ClientGone, or what `run` did.
        """
        put_at = time.perf_counter()
        answer, began, ended = await self.put(key, question, deadline, promised)
        timing("queue", began - put_at)
        timing("model", ended - began)
        return answer

    def put(
        self, key: K, question: Q, deadline: float, promised: bool = False, gone: Callable[[], bool] | None = None
    ) -> "asyncio.Future[Answered[A]]":
        """`submit` for who cannot wait here: the future holds what that would return or raise. Raises Busy.

        `gone` tells whether the caller has left; by default the request that this is called in is asked.
        """
        if self._closed:
            raise NotReady("the service is stopping", retry_after=2)
        if not promised and self.full:
            self.refused()
            raise Busy(Busy.WAITING, retry_after=RETRY_AFTER)
        loop, weight = asyncio.get_running_loop(), self._weigh(question)
        item: _Item[K, Q, A] = _Item(key, question, loop.create_future(), weight)
        self._put += weight
        gathered = self._gathered.setdefault(loop, [])
        gathered.append(item)
        if len(gathered) == 1:
            loop.call_soon(self._hand_over, loop)
        self._patience.begin(item.answer, deadline, gone)
        return item.answer

    def _hand_over(self, loop: asyncio.AbstractEventLoop, turns: int = 1) -> None:
        """Put what the event loop took on into the queue: at the first of it the thread would wake up, and answer two
        or three together where thirty wait.

        Where several ask, after TURNS turns: what is answered without the model goes out in one, and its callers ask
        again in the next. A turn with nothing to do takes microseconds, and one with much to do is no lost time.
        """
        gathered = len(self._gathered[loop])
        if turns < TURNS and self._last > 1 and gathered < self._most and not self._closed:
            loop.call_soon(self._hand_over, loop, turns + 1)
            return
        self._last = gathered
        for item in self._gathered.pop(loop):
            if self._closed:
                _fail(item.answer, NotReady("the service is stopping", retry_after=2))
            else:
                self._queue.put(item)

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
            began = time.perf_counter()
            for key, items in groups.items():
                self._answer(key, items)
            self._learn_pace([item for items in groups.values() for item in items], time.perf_counter() - began)
            self._done += sum(item.weight for item in waiting)
            if last:
                return

    def _learn_pace(self, items: list[_Item[K, Q, A]], seconds: float) -> None:
        """A small batch takes longer for each question, and would tell of a wait that nobody has."""
        if 2 * len(items) >= self._most:
            self._spent = KEPT * self._spent + seconds
            self._worked = KEPT * self._worked + sum(item.weight for item in items)

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
                    item.answer.set_result(Answered(answers[i], began, ended))

        for loop in loops:
            with suppress(RuntimeError):  # it was closed meanwhile, and nobody waits
                loop.call_soon_threadsafe(deliver, loop)


class _Waiter:
    """Who waits for an answer, and until when: the event loop's time `until`, `deadline` seconds after it began."""

    __slots__ = ("_gone", "_receive", "_watch", "answer", "deadline", "until")

    def __init__(
        self, answer: "asyncio.Future[Answered[A]]", deadline: float, now: float, gone: Callable[[], bool] | None
    ) -> None:
        self.answer, self.deadline, self.until = answer, deadline, now + deadline
        self._gone, self._receive = gone or leaver(), receiver()
        self._watch: asyncio.Task[None] | None = None

    def look(self, now: float) -> None:
        """End the wait if its time is over, or its caller has left."""
        if now >= self.until:
            _fail(self.answer, DeadlinePassed(f"no answer within {self.deadline:g} seconds"))
        elif self._gone is not None:
            if self._gone():
                self._leave()
        elif self._receive is not None and self._watch is None:
            self._watch = self.answer.get_loop().create_task(self._read_on(self._receive))

    def end(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _read_on(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        _fail(self.answer, ClientGone("the client left before its answer"))


class _Patience:
    """Looks after all who wait, every LOOK_SECONDS: a timer for each would cost as much as a small model's answer."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.AbstractEventLoop, list[_Waiter]] = {}

    def begin(self, answer: "asyncio.Future[Answered[A]]", deadline: float, gone: Callable[[], bool] | None) -> None:
        loop = answer.get_loop()
        waiting = self._waiting.get(loop)
        if waiting is None:
            waiting = self._waiting[loop] = []
            loop.call_later(LOOK_SECONDS, self._look, loop)
        waiting.append(_Waiter(answer, deadline, loop.time(), gone))

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, now = [], loop.time()
        for waiter in self._waiting[loop]:
            if waiter.answer.done():
                waiter.end()
            else:
                waiting.append(waiter)
                waiter.look(now)
        if waiting:
            self._waiting[loop] = waiting
            loop.call_later(LOOK_SECONDS, self._look, loop)
        else:
            del self._waiting[loop]


def _fail(answer: "asyncio.Future[Answered[A]]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
