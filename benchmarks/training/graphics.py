"""A graphics card instead of a core: words and pictures a second by the clock, and how busy the card was.

Must not know: what is made of the figures.
"""

import math
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import torch

from benchmarks.training import contestants

TOOL = "nvidia-smi"
BETWEEN = 200  # milliseconds, of the looks at the card
FIRST = 20  # updates: those in which kernels are chosen and memory is taken


def rate(name: str, seconds: float, folder: Path, device: str = "cuda") -> dict[str, float]:
    """`seconds` by the clock of the product's own updates; `busy` is the mean of what the driver says, of 1."""
    kind, _, size = name.partition("-")
    given = {"size": int(size)} if size else {}
    dataset = contestants.PICTURES[given["size"]] if given else contestants.TEXT
    update = contestants.ours(kind, dataset, folder, device=torch.device(device), **given)
    for _ in range(FIRST):
        update()
    _wait(device)
    looks = subprocess.Popen(
        [TOOL, "--query-gpu=index,utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={BETWEEN}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    count = updates = 0
    begun, cpu = time.monotonic(), time.process_time()
    while time.monotonic() - begun < seconds:
        count += update()
        updates += 1
    _wait(device)
    wall, cpu = time.monotonic() - begun, time.process_time() - cpu
    looks.terminate()
    busy: defaultdict[str, list[float]] = defaultdict(list)
    for line in looks.communicate()[0].splitlines():
        card, _, percent = line.partition(", ")
        if percent.isdigit():  # the last line may be cut
            busy[card].append(float(percent))
    # The busiest card is the one that trains; no look at all is no figure.
    most = max((sum(looked) / len(looked) for looked in busy.values()), default=math.nan)
    return {"wall": count / wall, "cpu": count / cpu, "updates": updates, "busy": most / 100}


def _wait(device: str) -> None:
    """Until the card has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
