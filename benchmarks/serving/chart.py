"""The figures of a result as a picture. Must not know: how they were measured."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.serving.rows import Run

LOADS = ("1", "16", "64")


def plot(runs: Sequence[Run], path: Path) -> None:
    """CPU time of a request of the medium model, by server and connections: medians of the runs, all runs as points."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [name for name in runs[0]["servers"] if name != "noop"]
    figure, panel = plt.subplots(figsize=(7, 3), constrained_layout=True)
    for i, connections in enumerate(LOADS):
        values = [
            [
                run["loads"][key]["cpu_us"] / 1000
                for run in runs
                if (key := f"{name} medium {connections}") in run["loads"]
            ]
            for name in names
        ]
        places = [at + 0.27 * (i - 1) for at in range(len(names))]
        panel.bar(places, [median(each) for each in values], 0.25, label=f"{connections} connections")
        for place, each in zip(places, values, strict=True):
            panel.plot([place] * len(each), each, "k.", markersize=3)
    panel.set_xticks(range(len(names)), names)
    panel.set_ylabel("CPU milliseconds a request")
    panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
