"""Training state as one safetensors file: tensors as they are, everything else as JSON in the header. Never a pickle.

Must not know: what the state means.
"""

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from safetensors.torch import save_file

from ml import files


class Copied(NamedTuple):
    """A tree as it was at one moment, whatever becomes of its tensors."""

    header: str
    tensors: dict[str, torch.Tensor]


def copied(tree: Any) -> Copied:
    """Copy nested dicts and lists of tensors and JSON values into the CPU's memory."""
    tensors: dict[str, torch.Tensor] = {}
    return Copied(json.dumps(_pack(tree, tensors)), tensors)


def save(path: Path, tree: Any) -> None:
    """Write nested dicts and lists of tensors and JSON values, atomically."""
    write(path, copied(tree))


def write(path: Path, copy: Copied) -> None:
    """Write what was copied, atomically."""
    header, tensors = copy
    files.write_with(path, lambda temporary: save_file(tensors, temporary, metadata={"tree": header}))


class Writer:
    """Writes one file at a time on a thread, so that training goes on meanwhile. Use it from one thread alone."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: tuple[Path, Future[None]] | None = None

    def start(self, path: Path, tree: Any) -> None:
        """Copy `tree` now and write it to `path` from now on. What was under way must have been taken by `written`."""
        assert self._under_way is None
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._under_way = path, self._pool.submit(write, path, copied(tree))

    def written(self, wait: bool) -> Path | None:
        """What has been written since the last call, if anything; raises what the writing raised.

        Without `wait`, what is still under way is left to a later call.
        """
        if self._under_way is None or not (wait or self._under_way[1].done()):
            return None
        (path, future), self._under_way = self._under_way, None
        future.result()
        return path

    def close(self) -> None:
        """End the thread, once it has nothing more to write."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def load(path: Path) -> Any:
    """Read what `save` wrote, on the CPU. Raises SafetensorError for a truncated or foreign file."""
    with safe_open(path, framework="pt", device="cpu") as file:
        metadata = file.metadata()
        if not metadata or "tree" not in metadata:
            raise SafetensorError(f"{path.name} is not a checkpoint")
        return _unpack(json.loads(metadata["tree"]), file.get_tensor)


def dumps(tree: Any) -> bytes:
    """What `save` would write."""
    header, tensors = copied(tree)
    return save_bytes(tensors, {"tree": header})


def loads(data: bytes) -> Any:
    """Read what `dumps` gave."""
    size = int.from_bytes(data[:8], "little")  # of the JSON header, which the library does not tell
    header = json.loads(data[8 : 8 + size])["__metadata__"]["tree"]
    return _unpack(json.loads(header), load_bytes(data).__getitem__)


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()  # a copy: safetensors refuses shared memory
        return {"tensor": name}
    if isinstance(value, dict):  # as pairs, because an optimizer's keys are integers
        return {"dict": [[k, _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(v, tensors) for v in value]}
    return {"value": value}


def _unpack(value: Any, get: Callable[[str], torch.Tensor]) -> Any:
    (tag, content), *_ = value.items()
    if tag == "tensor":
        return get(content)
    if tag == "dict":
        return {k: _unpack(v, get) for k, v in content}
    if tag == "list":
        return [_unpack(v, get) for v in content]
    return content
