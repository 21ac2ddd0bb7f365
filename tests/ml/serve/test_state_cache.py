"""Two memories that stay within their bounds."""

import threading

import numpy as np
import pytest

from ml.serve.state_cache import OVERHEAD, Recent, StateCache

ENTRY = OVERHEAD + 400


def array(value: float = 0.0) -> tuple[np.ndarray, ...]:
    return (np.full(100, value, np.float32),)


def test_what_was_asked_for_least_recently_goes_first() -> None:
    recent = Recent(3 * ENTRY)
    for key in "abc":
        recent.keep(key, array())
    assert recent.get("a") is not None  # now b is the one that nobody asked for
    recent.keep("d", array())
    assert recent.get("b") is None
    assert all(recent.get(key) is not None for key in "acd")
    assert (len(recent), recent.bytes) == (3, 3 * ENTRY)


def test_bytes_are_counted_and_bounded_whatever_is_kept() -> None:
    recent, random = Recent(50_000), np.random.default_rng(0)
    for key in range(500):
        recent.keep(int(random.integers(100)), tuple(np.zeros(n, np.float32) for n in random.integers(0, 900, 2)))
        assert recent.bytes <= 50_000, key
    kept = [recent.get(key) for key in range(100)]
    counted = sum(OVERHEAD + sum(a.nbytes for a in arrays) for arrays in kept if arrays is not None)
    assert recent.bytes == counted > 40_000


def test_what_is_larger_than_the_memory_is_not_kept() -> None:
    recent = Recent(ENTRY)
    recent.keep("a", array())
    recent.keep("huge", (np.zeros(10_000, np.float32),))
    assert (recent.get("huge"), recent.bytes) == (None, recent.bytes)
    assert recent.bytes <= ENTRY


def test_what_is_kept_already_stays() -> None:
    recent = Recent(10 * ENTRY)
    recent.keep("a", array(1))
    recent.keep("a", array(2))
    kept = recent.get("a")
    assert kept is not None
    assert kept[0][0] == 1
    assert recent.bytes == ENTRY


def test_both_memories_share_one_bound() -> None:
    states = StateCache(20 * ENTRY)
    for key in range(100):
        states.rows.keep(key, array())
        states.states.keep(key, array())
    assert 18 * ENTRY <= states.bytes <= 20 * ENTRY


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_do_not_spoil_the_count(threads: int) -> None:
    recent, failed = Recent(20 * ENTRY), list[BaseException]()

    def use(seed: int) -> None:
        random = np.random.default_rng(seed)
        try:
            for _ in range(2_000):
                key = int(random.integers(60))
                found = recent.get(key)
                assert found is None or found[0][0] == key
                recent.keep(key, array(key))
        except BaseException as error:
            failed.append(error)

    running = [threading.Thread(target=use, args=(seed,)) for seed in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert failed == []
    assert recent.bytes == len(recent) * ENTRY <= 20 * ENTRY
