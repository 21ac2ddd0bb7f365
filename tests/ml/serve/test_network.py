"""Contexts that are read together and gone on from: always the rows that each would get alone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ml.serve.gates import Gates, open_engine
from ml.serve.network import LOOK_BACK, Engine, Fused, Network
from ml.serve.state_cache import StateCache
from ml.serve.text import NextWord, Query
from tests.ml.tiny import Finished

START = 1
CLOSE = 2e-6  # rows that were worked out in another batch, or in pieces, differ by rounding alone
Finish = Callable[[str], Finished]


@pytest.fixture(scope="module", params=[Fused, Gates])
def version(request: pytest.FixtureRequest, one_layer: Path, finished: Finish) -> Path:
    """Of two layers, or of one, whose words are looked up."""
    return one_layer if request.param is Gates else finished("lstm").run.artifact


@pytest.fixture(scope="module")
def start(version: Path) -> int:
    return NextWord.open(version).start


@pytest.fixture(scope="module")
def engine(version: Path) -> Engine:
    return open_engine(version, len(NextWord.open(version).vocabulary))


@pytest.fixture(scope="module")
def plain(engine: Engine, start: int) -> Network:
    return Network(engine, start, None)


@pytest.fixture
def states() -> StateCache:
    return StateCache()


@pytest.fixture
def network(engine: Engine, start: int, states: StateCache) -> Network:
    return Network(engine, start, states)


def contexts(start: int, count: int, seed: int, longest: int = 18) -> Iterator[list[int]]:
    """Of all lengths, some behind the start and some from the middle of a text."""
    random = np.random.default_rng(seed)
    for number in range(count):
        ids = random.integers(2, 30, size=int(random.integers(1, longest))).tolist()
        yield [start, *ids] if number % 2 else ids


def expect(network: Network, plain: Network, asked: Sequence[list[int]]) -> None:
    rows = network.rows(asked)
    for row, context in zip(rows, asked, strict=True):
        (alone,) = plain.probabilities([context])
        np.testing.assert_allclose(row, alone, atol=CLOSE)
        assert row.sum() == pytest.approx(1, abs=1e-5)


def count_reads(network: Network, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Shapes (contexts, ids) of everything that is read from now on."""
    run, shapes = network._run, list[tuple[int, int]]()

    def counted(ids: np.ndarray, hidden: object, heard: int) -> list[np.ndarray]:
        shapes.append(ids.shape)
        return run(ids, hidden, heard)

    monkeypatch.setattr(network, "_run", counted)
    return shapes


def test_it_can_be_read_in_pieces(network: Network) -> None:
    assert network.carries
    assert network._begun is not None  # or nothing below would be about the cache


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_those_of_each_alone(network: Network, plain: Network, start: int, seed: int) -> None:
    asked = list(contexts(start, 32, seed))
    expect(network, plain, asked)
    expect(network, plain, asked)  # from memory
    expect(network, plain, [*asked[::-1], *contexts(start, 10, seed + 100)])  # some from memory, some not


@pytest.mark.parametrize("length", [1, 2, 3, 18])
def test_a_context_beside_itself_is_read_once(
    network: Network, plain: Network, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, context = count_reads(network, monkeypatch), list(range(2, 2 + length))
    expect(network, plain, [context] * 5)
    assert sum(count * ids for count, ids in shapes) == length


@pytest.mark.parametrize("step", range(1, LOOK_BACK + 1))
def test_typing_on_reads_what_is_new(
    network: Network, plain: Network, start: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [start, *range(2, 22)]
    expect(network, plain, [ids[:5]])
    shapes = count_reads(network, monkeypatch)
    for end in range(5 + step, len(ids) + 1, step):
        expect(network, plain, [ids[:end]])
    assert shapes == [(1, step)] * ((len(ids) - 5) // step)


def test_more_at_once_than_is_looked_back_is_read_from_the_start(
    network: Network, plain: Network, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [start, *range(2, 22)]
    expect(network, plain, [ids[:5]])
    shapes = count_reads(network, monkeypatch)
    expect(network, plain, [ids[: 6 + LOOK_BACK]])
    assert sum(read for _, read in shapes) == 5 + LOOK_BACK  # all of it but the start, whose state is known


def test_no_id_is_read_that_is_not_there(
    network: Network, plain: Network, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [list(range(2, 2 + length)) for length in (1, 4, 4, 9, 17)]
    shapes = count_reads(network, monkeypatch)
    expect(network, plain, asked)
    assert sum(count * ids for count, ids in shapes) == 1 + 4 + 9 + 17
    assert max(count for count, _ in shapes) == 4


def test_rows_cannot_be_written_to_and_keep_no_others_alive(network: Network, start: int) -> None:
    for row in network.rows([[start, 2, 3], [start, 4]]):
        assert row.base is None
        with pytest.raises(ValueError, match="read-only"):
            row[0] = 1


def test_what_is_remembered_is_bounded(engine: Engine, start: int, plain: Network) -> None:
    states = StateCache(100_000)
    network = Network(engine, start, states)
    for seed in range(10):
        asked = list(contexts(start, 32, seed))
        expect(network, plain, asked)
        assert states.bytes <= 100_000
    assert states.bytes > 50_000


def test_a_memory_too_small_for_anything_changes_nothing(engine: Engine, start: int, plain: Network) -> None:
    network = Network(engine, start, StateCache(0))
    for seed in (1, 1, 2):
        expect(network, plain, list(contexts(start, 20, seed)))


def test_another_version_does_not_see_what_one_remembers(
    engine: Engine, start: int, states: StateCache, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Network(engine, start, states)
    asked = list(contexts(start, 8, 3))
    rows = network.rows(asked)
    kept = (len(states.rows), len(states.states))
    shapes = count_reads(other, monkeypatch)
    again = other.rows([[*context, 2] for context in asked] + asked)
    assert (len(states.rows), len(states.states)) == (3 * kept[0], 3 * kept[1])
    read = sum(count * ids for count, ids in shapes)
    assert read >= sum(len(context) - (context[0] == start) for context in asked)
    assert all(one is not two for one, two in zip(rows, again[8:], strict=True))


def test_two_threads_share_one_memory(engine: Engine, start: int, states: StateCache, plain: Network) -> None:
    """As a version that is tried does, beside the one that answers."""
    networks = [Network(engine, start, states) for _ in range(2)]
    failed: list[BaseException] = []

    def use(network: Network, seed: int) -> None:
        try:
            for number in range(20):
                expect(network, plain, list(contexts(start, 8, seed + number % 7)))
        except BaseException as error:
            failed.append(error)

    running = [threading.Thread(target=use, args=(networks[i % 2], i % 3)) for i in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert failed == []


def test_the_first_versions_and_windows_remember_nothing(lecture_run: Finished) -> None:
    lecturer = NextWord.open(lecture_run.run.artifact)
    row, again = (lecturer._network.rows([lecturer.context([2, 3])])[0] for _ in range(2))
    np.testing.assert_array_equal(row, again)
    assert row is not again


# -- in the predictor ------------------------------------------------------------------------------------------------


def test_a_typed_text_is_answered_as_one_that_was_never_seen_before(version: Path) -> None:
    typed = "I like the dogs. Then God said they praise the king and I love the quee"
    model = NextWord.open(version)
    for end in range(len(typed) + 1):
        (answer,), (alone,) = model.answer([Query(typed[:end])]), NextWord.open(version).answer([Query(typed[:end])])
        found, wanted = ([(p.word, p.kind, p.replace_from) for p in a.predictions] for a in (answer, alone))
        assert found == wanted, typed[:end]
        shares = ([p.probability for p in a.predictions] for a in (answer, alone))
        np.testing.assert_allclose(*shares, rtol=1e-3, atol=CLOSE)


def test_an_answer_does_not_depend_on_its_neighbours(version: Path) -> None:
    texts = ["", "I like the do", "We hate ", "God said", "zebra " * 50, "I\nlike\nthe ", "커피", "I like the "]
    together = NextWord.open(version).answer([Query(each, words=3) for each in texts])
    for each, beside in zip(texts, together, strict=True):
        (alone,) = NextWord.open(version).answer([Query(each, words=3)])
        assert [p.word for p in alone.predictions] == [p.word for p in beside.predictions]
        assert alone.continuation == beside.continuation
        shares = ([p.probability for p in a.predictions] for a in (alone, beside))
        np.testing.assert_allclose(*shares, rtol=1e-3, atol=CLOSE)


def test_typists_are_read_together(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a new word, one with a letter behind a text that is remembered: one read for both."""
    model = NextWord.open(version)
    model.answer([Query("I like the ")])
    shapes = count_reads(model._network, monkeypatch)
    asked = [Query("I like the d"), Query("God said ")]
    beside = model.answer(asked)
    assert shapes == [(1, 1), (2, 1)]  # "God" alone, then the last ids of both
    for query, each in zip(asked, beside, strict=True):
        (alone,) = NextWord.open(version).answer([query])
        assert [(p.word, p.kind) for p in alone.predictions] == [(p.word, p.kind) for p in each.predictions]
