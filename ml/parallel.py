"""One update shared by several processes: which rows of a batch are mine, and sums over all of them.

Every process holds all of the weights and draws the random numbers of the whole batch, learns from its own rows, and
gets the sum of the gradients: it is the update that one process would make of the batch, to rounding. So a checkpoint
is anybody's, whatever the number of processes. DistributedDataParallel would not do: it hooks into `backward`, which
the gradient penalties run twice, and it averages, where the rows may be unequal.

The first process decides everything and tells the others (`tell_step`, `tell_state`, `end`); they only obey (`hear`).
With a single process, which is the usual case, nothing here does anything.

Must not know: models, runs, or who started the processes (by the environment of torchrun).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Only hit when all live but one has nothing to say; a dead one is noticed by its connection.
TIMEOUT = timedelta(days=1)


class RankLost(Exception):
    """Another process of this training ended, or cannot be reached."""


class Order(IntEnum):
    END = 0
    STATE = 1
    STEP = 2


@dataclass
class _Ranks:
    rank: int = 0
    count: int = 1
    rows: int = 0  # of the batch that is being learned, all of it


_ranks = _Ranks()


def count() -> int:
    """How many processes share an update."""
    return _ranks.count


def leads() -> bool:
    """Whether this is the first process, which alone writes, measures and decides."""
    return _ranks.rank == 0


# -- coming and going --------------------------------------------------------------------------------------------------


def was_started() -> bool:
    """Whether this process is one of torchrun's."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def join() -> None:
    """Become one of the processes that torchrun started. Raises RankLost; ValueError for too few graphics cards."""
    cards, here = torch.cuda.device_count(), int(os.environ["LOCAL_WORLD_SIZE"])
    if torch.cuda.is_available():
        if cards < here:
            raise ValueError(f"{here} processes need a graphics card each, and there are {cards}")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with _lost():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    _ranks.rank, _ranks.count = dist.get_rank(), dist.get_world_size()


def leave() -> None:
    """Be alone again; the others must have been told to end."""
    if dist.is_initialized():
        dist.destroy_process_group()
    _ranks.rank, _ranks.count = 0, 1


# -- what the first process says ---------------------------------------------------------------------------------------


def tell_step(progress: float) -> None:
    """Have everyone make the next update. Raises RankLost."""
    if _ranks.count > 1:
        _broadcast(torch.tensor([Order.STEP, progress], dtype=torch.float64))


def tell_state(data: Callable[[], bytes]) -> None:
    """Have everyone go on from `data()`. Raises RankLost."""
    if _ranks.count > 1:
        sent = torch.frombuffer(bytearray(data()), dtype=torch.uint8)
        _broadcast(torch.tensor([Order.STATE, len(sent)], dtype=torch.float64))
        _broadcast(sent)


def end() -> None:
    """Have the others end, and be alone. Raises RankLost when one of them had ended before."""
    if _ranks.count > 1 and leads():
        try:
            _broadcast(torch.tensor([Order.END, 0], dtype=torch.float64))
            _answer()
        finally:
            leave()


def hear() -> tuple[Order, float, bytes]:
    """The next order, with the progress of a step or the data of a state. Raises RankLost."""
    said = torch.zeros(2, dtype=torch.float64)
    _broadcast(said)
    order, value = Order(int(said[0])), float(said[1])
    if order is Order.STATE:
        sent = torch.empty(int(value), dtype=torch.uint8)
        _broadcast(sent)
        return order, 0.0, sent.numpy().tobytes()
    if order is Order.END:
        _answer()
    return order, value, b""


def _answer() -> None:
    _add_up(torch.ones(1))


def _broadcast(tensor: Tensor) -> None:
    with _lost():
        dist.broadcast(tensor, 0)


# -- rows --------------------------------------------------------------------------------------------------------------


def _bounds(rows: int) -> tuple[int, int]:
    """My first row and the one behind my last: all of them where there are too few for everyone."""
    if rows < _ranks.count:
        return 0, rows
    return rows * _ranks.rank // _ranks.count, rows * (_ranks.rank + 1) // _ranks.count


def mine(tensor: Tensor, dim: int = 0) -> Tensor:
    """My rows of a whole batch's."""
    if _ranks.count == 1:
        return tensor
    _ranks.rows = tensor.shape[dim]
    first, last = _bounds(_ranks.rows)
    return tensor.narrow(dim, first, last - first)


def weight(own: int, whole: int) -> float:
    """What a mean over my `own` elements counts in the sum over all processes that is the mean over the `whole`."""
    return 1 / _ranks.count if 0 < _ranks.rows < _ranks.count else own / whole


def each(draw: Callable[[int], Tensor], rows: int, dim: int = 0) -> Tensor:
    """My rows of `draw(n)`, random numbers for all n rows of the batch of which I have `rows`."""
    if _ranks.count == 1:
        return draw(rows)
    return mine(draw(_ranks.rows), dim)


@contextmanager
def own_random(device: torch.device) -> Iterator[None]:
    """Random numbers of my own, for what cannot draw those of the whole batch; afterwards all go on with the same."""
    if _ranks.count == 1:
        yield
        return
    seed = int(torch.randint(1 << 62, ()))
    with torch.random.fork_rng([torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed + _ranks.rank)
        yield


def whole(tensor: Tensor, dim: int) -> Tensor:
    """My rows among zeros in the place of the others', to be added up."""
    if _ranks.count == 1:
        return tensor
    first, last = _bounds(_ranks.rows)
    shape = list(tensor.shape)
    shape[dim] = _ranks.rows
    out = tensor.new_zeros(shape)
    if last - first < _ranks.rows or leads():
        out.narrow(dim, first, last - first).copy_(tensor)
    return out


# -- sums --------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each by its sum over all processes, in one message. Raises RankLost."""
    if _ranks.count > 1:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        _add_up(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))


class _Sum(torch.autograd.Function):
    """A sum over all processes; the gradient of what all of them make of it is one too, and so on."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        out = tensor.clone()
        _add_up(out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        out: Tensor = _Sum.apply(gradients[0].contiguous())  # type: ignore[no-untyped-call]
        return out


def variance(x: Tensor) -> Tensor:
    """Over the first axis of the whole batch, of which x (B, …) are my rows; differentiable any number of times.

    Means and variances are put together as Chan et al. 1979 do: sums of squares would cancel.
    """
    mean = x.mean(0)
    own = (x - mean).square().mean(0)  # not `var`, which takes ten times as long over the first axis
    if _ranks.count == 1:
        return own
    here = torch.cat([mean.flatten(), own.flatten(), mean.new_tensor([len(x)])])
    slots = [here if rank == _ranks.rank else torch.zeros_like(here) for rank in range(_ranks.count)]
    every: Tensor = _Sum.apply(torch.stack(slots))  # type: ignore[no-untyped-call]
    means, owns = every[:, :-1].view(_ranks.count, 2, -1).unbind(1)
    shares = (every[:, -1:] / every[:, -1].sum()).detach()
    middle = (shares * means).sum(0)
    return (shares * (owns + (means - middle).square())).sum(0).view_as(own)


def _add_up(tensor: Tensor) -> None:
    with _lost():
        dist.all_reduce(tensor)


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's own words, of which there are many
        raise RankLost(f"another process of this training ended: {str(error).splitlines()[0]}") from error
