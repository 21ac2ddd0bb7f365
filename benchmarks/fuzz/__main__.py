"""Random requests to the whole API and random files for everything that reads files; ends with 1 on any failure.

    .venv/bin/python -m benchmarks.fuzz                        requests: 20,000 cases and more, about 15 minutes
    .venv/bin/python -m benchmarks.fuzz --parsers              files, query strings, forms, texts: about 20 minutes
    .venv/bin/python -m benchmarks.fuzz --seed 7               other cases; without it, a new seed, which is printed

Prints cases by operation with the statuses that were seen, or inputs by target with what became of them, and every
failure with the request or input that shows it.
"""

import argparse
import logging
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

from benchmarks.fuzz import api, parsers, raw
from benchmarks.fuzz.bed import Bed

LEAST = 20_000  # cases of a large run


def requests(folder: Path, examples: int, seed: int) -> int:
    """Fuzz the API; returns the number of failures."""
    with Bed(folder) as bed:
        tally = api.fuzz(bed.app, bed.key, examples, seed)
    print(api.table(tally))
    for (operation, what), said in tally.failures.items():
        print(f"\nFAILED {operation}: {what}, {len(said)} times; the first:\n{said[0][:3000]}")
    for error in tally.errors:
        print(f"\nERROR of the fuzzing itself: {error[:3000]}")
    count = sum(map(len, tally.failures.values()))
    statuses = sorted({status for _, status in tally.statuses})
    phases = ", ".join(f"{name} {n:,}" for name, n in tally.phases.items())
    print(
        f"\n{tally.total:,} cases ({phases}) over {len(tally.cases)} operations; statuses {statuses}; {count} failures"
    )
    if examples >= 500 and tally.total < LEAST:
        print(f"fewer than {LEAST:,} cases")
        return count + len(tally.errors) + 1
    return count + len(tally.errors)


def inputs(folder: Path, examples: int, seed: int) -> int:
    """Fuzz what reads files and raw requests; returns the number of failures."""
    failures = total = 0
    with Bed(folder / "wire") as bed, raw.Wire(bed) as wire:
        for target in (*parsers.targets(folder / "versions"), *raw.targets(wire)):
            started = time.monotonic()
            outcome = parsers.fuzz(target, examples, seed)
            total += outcome.counts.total()
            said = ", ".join(f"{what}: {n}" for what, n in outcome.counts.most_common())
            print(
                f"{outcome.counts.total():>8}  {target.name}  ({said})  {time.monotonic() - started:.0f} s", flush=True
            )
            if outcome.failure is not None:
                failures += 1
                print(f"FAILED {target.name}: {outcome.failure[:6000]}", flush=True)
    print(f"\n{total:,} inputs; {failures} failures")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--parsers", action="store_true", help="files and raw requests instead of the OpenAPI document")
    parser.add_argument("--examples", type=int, help="random requests an operation (500), or inputs a target (1500)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of Pillow and zipfile, about what is sent to them
    logging.disable(logging.ERROR)
    started = time.monotonic()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="inkling-fuzz-") as folder:
        if arguments.parsers:
            failures = inputs(Path(folder), arguments.examples or 1500, arguments.seed)
        else:
            failures = requests(Path(folder), arguments.examples or 500, arguments.seed)
    print(f"{(time.monotonic() - started) / 60:.1f} minutes")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
