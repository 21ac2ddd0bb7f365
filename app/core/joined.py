"""A connection's transport that sends at once what is written in one turn of the event loop.

An answer's head and its body are two writes of uvicorn's, and uvloop makes a system call of each: sending costs as much
as a small model's answer. Must not know: HTTP.
"""

from asyncio import AbstractEventLoop, Transport
from typing import Any

MOST_HELD = 64 * 1024  # bytes; what is more goes out at once, so that the transport can say when it has too much


class JoinedWrites:
    """`transport` with its writes joined; everything else is the transport's own."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._bytes += len(data)
        if self._bytes > MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Send what is held back, if anything is."""
        if self._held:
            data = b"".join(self._held)
            self._held, self._bytes = [], 0
            if not self._transport.is_closing():  # the client may have gone in this turn
                self._transport.write(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + self._bytes
