"""Two cores instead of one: two threads of one process, or two processes that share each batch. By the clock.

Must not know: what is made of the figures.
"""

import os
import socket
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch.optim.optimizer import register_optimizer_step_pre_hook

from benchmarks.training import contestants
from ml.families.gan.config import BATCH

HALVES: dict[str, dict[str, Any]] = {"lstm": {"batch_size": 16}, "gan-28": {"size": 28, "batch_size": BATCH[-1] // 2}}


def threads(name: str, seconds: float, folder: Path, count: int) -> dict[str, float]:
    return contestants.rate(name, seconds, folder, count)


def data_parallel(name: str, seconds: float, folder: Path) -> dict[str, float]:
    """Two processes, half a batch each, gradients averaged before every step of an optimizer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kind = name.partition("-")[0]
    contestants.prepare(kind, _dataset(kind), HALVES[name], folder)  # once, before both
    queue = processes.get_context("spawn").SimpleQueue()
    processes.spawn(_half, (name, seconds, folder, port, queue), nprocs=2)
    told: dict[str, float] = queue.get()
    return told


def _dataset(kind: str) -> str:
    return contestants.TEXT if kind == "lstm" else contestants.PICTURES[28]


def _half(rank: int, name: str, seconds: float, folder: Path, port: int, queue: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)

    def averaged(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        for grad, part in zip(grads, flat.div_(2).split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    register_optimizer_step_pre_hook(averaged)
    kind = name.partition("-")[0]
    update = contestants.ours(kind, _dataset(kind), folder, **HALVES[name])
    for _ in range(10):
        update()
    dist.barrier()
    begun, used, count, updates = time.monotonic(), time.process_time(), 0, 0
    while True:
        count += update()
        updates += 1
        over = torch.tensor(float(time.monotonic() - begun > seconds))
        dist.broadcast(over, 0)  # both end at the same update
        if over:
            break
    wall = time.monotonic() - begun
    if rank == 0:
        used = time.process_time() - used
        queue.put({"wall": 2 * count / wall, "cpu": count / used, "updates": updates})
    dist.barrier()
    dist.destroy_process_group()
