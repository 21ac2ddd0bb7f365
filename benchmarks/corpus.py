"""What a large text costs: `python benchmarks/corpus.py --megabytes 1024`.

Writes a text with the word frequencies of a language (Zipf), takes it in as an upload would be and prepares it as a
training would, each in a process of its own, and prints peak memory as a share of the text and speed beside two peers
that read the same file in the same run: `wc -w`, and Python's plain split and Counter.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MEGABYTE = 1_000_000
WORDS = 3_000_000  # different ones, of which a text of 1 GB says about half
COMMON = 8_000


def write_text(path: Path, megabytes: float) -> None:
    """Lines of 4 to 30 words with capitals, commas and full stops.

    Frequencies fall as 1 / rank, and faster beyond the COMMON words, as they do in large texts of people's.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    syllables = np.array([c + v + e for c in "bdfgklmnprst" for v in "aeiou" for e in ("", "n", "s", "r")])
    vowels = len(syllables)
    words = [
        "".join(syllables[[(i // vowels**k) % vowels for k in range(1 + (i >= vowels) + (i >= vowels**2))]])
        for i in range(WORDS)
    ]
    ranks = np.arange(3, WORDS + 3)
    shares = (1 / ranks) * np.minimum(1, COMMON / ranks) ** 0.5
    sums = np.cumsum(shares / shares.sum())
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < megabytes * MEGABYTE:
            ranks = np.minimum(np.searchsorted(sums, rng.random(500_000)), WORDS - 1).tolist()
            at, block = 0, []
            for length in rng.integers(4, 31, 30_000).tolist():
                said = [words[i] for i in ranks[at : at + length]]
                if not said:
                    break
                at += length
                said[len(said) // 2] += ","
                block.append(" ".join(said).capitalize() + ".\n")
            written += file.write("".join(block))


def take(folder: Path) -> None:
    from ml.data import texts
    from ml.data.intake import Limits, Source
    from ml.data.store import DatasetInfo

    info = DatasetInfo(name="large", title="large", modality="text", licence="CC0-1.0", attribution="made up")
    texts.take_texts([Source("large.txt", folder / "large.txt")], folder / "set", info, Limits())


def prepare(folder: Path) -> None:
    from ml.data import store
    from ml.families import catalog

    family = catalog.load("lstm")
    config = family.spec.resolve(family.spec.config("auto", {}), store.read_info(folder / "set"))
    (folder / "prepared").mkdir()
    family.prepare(folder / "set", config, folder / "prepared")


def count_plainly(folder: Path) -> None:
    counts: Counter[str] = Counter()
    with (folder / "large.txt").open(encoding="utf-8") as file:
        for line in file:
            counts.update(line.split())


def wc(folder: Path) -> None:
    subprocess.run(["wc", "-w", str(folder / "large.txt")], check=True, stdout=subprocess.DEVNULL)


STEPS: dict[str, Callable[[Path], None]] = {
    "wc -w": wc,
    "split and Counter": count_plainly,
    "take in": take,
    "prepare": prepare,
}


def measure(step: str, folder: Path) -> dict[str, Any]:
    """Seconds of CPU and of the clock, and peak memory in bytes, of `step` in a process of its own."""
    # This process stays small: a child's peak memory starts from its parent's.
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)  # type: ignore[no-any-return]


def run_step(step: str, folder: Path) -> None:
    started = time.monotonic()
    STEPS[step](folder)
    seconds = time.monotonic() - started
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    used = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    print(json.dumps({"cpu": used, "seconds": seconds, "peak": 1024 * own.ru_maxrss}))  # Linux counts in KiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=float, default=1024, help="size of the text")
    parser.add_argument("--folder", type=Path, help="where the text is written, and removed afterwards")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_text(arguments.folder / "large.txt", arguments.megabytes)
        return
    if arguments.step:
        run_step(arguments.step, arguments.folder)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        writing = [sys.executable, __file__, "--write", "--folder", name, "--megabytes", str(arguments.megabytes)]
        subprocess.run(writing, check=True)
        size = (folder / "large.txt").stat().st_size
        results = {step: measure(step, folder) for step in STEPS}
        counts = json.loads((folder / "set" / "dataset.json").read_bytes())["counts"]
        ids = sum(path.stat().st_size for path in (folder / "prepared").glob("*.npy")) // 4
    peer = results["split and Counter"]["cpu"]
    print(f"{size / MEGABYTE:,.0f} MB: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    print(f"{ids:,} ids; speed is per second of CPU")
    print(f"{'':20}{'seconds':>9}{'CPU':>8}{'MB/s':>8}{'of Counter':>12}{'peak MB':>9}{'of the text':>13}")
    for step, result in results.items():
        speed, peak = size / MEGABYTE / result["cpu"], result["peak"]
        print(
            f"{step:20}{result['seconds']:9.1f}{result['cpu']:8.1f}{speed:8.1f}{peer / result['cpu']:12.2f}"
            f"{peak / MEGABYTE:9.0f}{peak / size:13.2f}"
        )


if __name__ == "__main__":
    main()
