"""What tests of uploads share: a body by hand, and what is left in the data folder."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

STUB = (sys.executable, str(Path(__file__).with_name("ingest_stub.py")))  # instead of `python -m ml.ingest`
TEXT = b"the cat sat on the mat\nthe dog sat on the rug\n"
BOUNDARY = "----the-boundary"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(content: bytes, name: str = "file", filename: str | None = "a.txt") -> bytes:
    """One part of a body."""
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


async def in_pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def leftovers(data_dir: Path) -> list[Path]:
    """The files of half-done uploads, and the folders of data sets."""
    half_done = [path for path in (data_dir / "uploads").rglob("*") if path.is_file()]
    return half_done + list((data_dir / "datasets").glob("ds_*")) + list((data_dir / "datasets").glob(".ds_*"))
