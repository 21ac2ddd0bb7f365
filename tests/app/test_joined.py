"""What is written in one turn of the event loop goes out at once, and nothing that was written is lost."""

import asyncio
from typing import Any

import pytest

from app.core.joined import MOST_HELD, JoinedWrites


class Transport:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self.high = 7

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 100


@pytest.fixture
async def both() -> tuple[Transport, Any]:
    transport: Any = Transport()
    return transport, JoinedWrites(transport, asyncio.get_running_loop())


async def test_the_writes_of_one_turn_are_one(both: tuple[Transport, Any]) -> None:
    transport, joined = both
    joined.write(b"head ")
    joined.write(b"body")
    assert transport.sent == []
    assert joined.get_write_buffer_size() == 109
    await asyncio.sleep(0)
    assert transport.sent == [b"head body"]
    assert joined.get_write_buffer_size() == 100
    joined.write(b"more")
    await asyncio.sleep(0)
    assert transport.sent == [b"head body", b"more"]
    assert joined.high == 7  # the rest is the transport's own


async def test_who_closes_sends_first(both: tuple[Transport, Any]) -> None:
    transport, joined = both
    joined.write(b"last words")
    joined.close()
    assert transport.sent == [b"last words"]
    assert joined.is_closing()
    await asyncio.sleep(0)
    assert transport.sent == [b"last words"]


async def test_much_is_not_held_back(both: tuple[Transport, Any]) -> None:
    transport, joined = both
    joined.write(b"head")
    joined.write(bytes(MOST_HELD))
    assert [len(each) for each in transport.sent] == [MOST_HELD + 4]
    await asyncio.sleep(0)
    assert len(transport.sent) == 1


async def test_a_client_that_went_in_the_same_turn_is_sent_nothing(both: tuple[Transport, Any]) -> None:
    transport, joined = both
    joined.write(b"for nobody")
    transport.close()
    await asyncio.sleep(0)
    assert transport.sent == []
