"""One thread that answers whatever waits, together."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from app.core.errors import DeadlinePassed, NotReady
from app.inference.batcher import TURNS, Batcher


class Doubler:
    """A batcher that doubles numbers and writes down what it was asked together; 0 breaks it."""

    def __init__(self, most: int = 32) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.under_way, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.batcher: Batcher[str, int, int] = Batcher("test", self._run, 100, most)

    def _run(self, key: str, questions: list[int]) -> list[int]:
        self.under_way.set()
        self.go_on.wait(30)
        self.batches.append((key, questions))
        if 0 in questions:
            raise ZeroDivisionError
        return [2 * question for question in questions]

    async def begins(self) -> None:
        """Something is being answered."""
        assert await asyncio.to_thread(self.under_way.wait, 30)

    async def ask(self, *questions: int, key: str = "k", deadline: float = 30) -> list[int | BaseException]:
        asked = (self.batcher.submit(key, question, deadline) for question in questions)
        return await asyncio.gather(*asked, return_exceptions=True)


@pytest.fixture
def doubler() -> Iterator[Doubler]:
    made = Doubler()
    yield made
    made.go_on.set()
    made.batcher.close()


async def test_what_comes_in_one_turn_is_answered_together(doubler: Doubler) -> None:
    assert await doubler.ask(*range(1, 21)) == [2 * n for n in range(1, 21)]
    assert [number for _, batch in doubler.batches for number in batch] == list(range(1, 21))
    assert len(doubler.batches) <= 2  # two where the machine stops the event loop in the middle of it


async def test_no_more_at_once_than_it_may() -> None:
    doubler = Doubler(most=8)
    assert await doubler.ask(*range(1, 31)) == [2 * n for n in range(1, 31)]
    assert max(len(batch) for _, batch in doubler.batches) == 8
    doubler.batcher.close()


async def test_only_what_belongs_together_is(doubler: Doubler) -> None:
    doubler.go_on.clear()  # or its thread, where it is quick, takes the first before the second is there
    before = asyncio.create_task(doubler.ask(9))
    await doubler.begins()
    asked = asyncio.gather(doubler.ask(1, 2, key="a"), doubler.ask(3, key="b"))
    while doubler.batcher._queue.qsize() < 3:
        await asyncio.sleep(0.01)
    doubler.go_on.set()
    assert (await before, await asked) == ([18], [[2, 4], [6]])
    assert doubler.batches == [("k", [9]), ("a", [1, 2]), ("b", [3])]


async def test_what_breaks_breaks_for_all_of_a_batch_and_no_other(doubler: Doubler) -> None:
    broken = await doubler.ask(1, 0)
    assert [type(answer) for answer in broken] == [ZeroDivisionError] * 2
    assert await doubler.ask(1) == [2]


async def test_whoever_left_is_not_answered(doubler: Doubler) -> None:
    doubler.go_on.clear()
    first = asyncio.create_task(doubler.ask(1))
    await doubler.begins()
    left, late = (asyncio.create_task(doubler.batcher.submit("k", n, deadline)) for n, deadline in ((2, 30), (3, 0.1)))
    stays = asyncio.create_task(doubler.ask(4))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(DeadlinePassed):
        await late
    doubler.go_on.set()
    assert (await first, await stays) == ([2], [8])
    with pytest.raises(asyncio.CancelledError):
        await left
    assert [batch for _, batch in doubler.batches] == [[1], [4]]


async def test_who_leaves_before_it_was_handed_over_is_not_answered(doubler: Doubler) -> None:
    left = asyncio.create_task(doubler.ask(1))
    stays = asyncio.create_task(doubler.ask(2))
    await asyncio.sleep(0)
    left.cancel()
    assert await stays == [4]
    assert [batch for _, batch in doubler.batches] == [[2]]


async def test_what_waits_is_counted_from_the_moment_it_is_taken() -> None:
    doubler = Doubler()
    doubler.go_on.clear()
    first = asyncio.create_task(doubler.ask(1))
    await doubler.begins()
    more = asyncio.create_task(doubler.ask(*range(2, 150)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert doubler.batcher.full  # nothing of it has come to the thread yet
    doubler.go_on.set()
    refused = [answer for answer in await more if isinstance(answer, Exception)]
    assert len(refused) == 148 - 100
    assert await first == [2]
    doubler.batcher.close()


async def test_what_waits_when_it_closes_is_answered_and_nothing_behind(doubler: Doubler) -> None:
    doubler.go_on.clear()
    waiting = asyncio.create_task(doubler.ask(1, 2))
    await doubler.begins()
    closing = asyncio.create_task(asyncio.to_thread(doubler.batcher.close))
    while not doubler.batcher._closed:
        await asyncio.sleep(0.01)
    with pytest.raises(NotReady):
        await doubler.batcher.submit("k", 3, 30)
    doubler.go_on.set()
    assert await waiting == [2, 4]
    await closing


async def test_what_was_taken_but_not_handed_over_when_it_closes_is_told(doubler: Doubler) -> None:
    asked = asyncio.create_task(doubler.batcher.submit("k", 1, 30))
    await asyncio.sleep(0)  # it was taken in this turn, and is handed over in the next
    doubler.batcher._closed = True
    with pytest.raises(NotReady):
        await asked


def test_two_event_loops_get_their_own_answers(doubler: Doubler) -> None:
    answers: dict[int, list[int | BaseException]] = {}

    def use(number: int) -> None:
        async def many() -> None:
            for _ in range(50):
                answers[number] = await doubler.ask(number, number + 1)

        asyncio.run(many())

    threads = [threading.Thread(target=use, args=(number,)) for number in (10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {10: [20, 22], 20: [40, 42]}


async def test_where_several_ask_questions_gather_for_some_turns(doubler: Doubler) -> None:
    async def later(turns: int, number: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await doubler.batcher.submit("k", number, 30)

    async def handed_over_after(turns: int) -> bool:
        asked = asyncio.create_task(later(0, 1))
        for _ in range(turns + 1):  # one for the task to begin
            await asyncio.sleep(0)
        handed_over = not doubler.batcher._gathered
        await asked
        return handed_over

    assert await doubler.ask(1) == [2]
    assert await handed_over_after(1)  # the last one to ask was alone: nobody waits for others
    await doubler.ask(2, 3)
    assert not await handed_over_after(TURNS - 1)
    await doubler.ask(2, 3)
    assert await handed_over_after(TURNS)
    await doubler.ask(2, 3)
    before, several = len(doubler.batches), range(20, 20 + TURNS - 1)
    assert await asyncio.gather(*(later(turn, number) for turn, number in enumerate(several))) == [
        2 * number for number in several
    ]
    assert [batch for _, batch in doubler.batches[before:]] == [list(several)]
