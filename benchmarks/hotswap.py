"""Hot swap under load: 32 keep-alive connections ask for next words while versions are activated one after another.

In every run quiet blocks take turns with blocks in which a version is activated each second, 20 times in all. Bounds:
no failed request, no answer that mixes two versions, none from the old version once the activation was answered, and
at a steady 60 % of what the service can do, p99.9 of the blocks with activations at most twice that of the quiet ones
(median of three runs). The same as fast as answers come is printed beside it, without a bound.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.load import Load, Records
from benchmarks.service import Service, machine
from benchmarks.variants import SMALL, TEXTS, prepare

CONNECTIONS = 32
BOUND = 2.0
ACTIVATIONS_A_BLOCK = 4
MIXED, FAILED = -1, 0  # in place of an answer's version


@dataclass(frozen=True)
class Activation:
    version: int
    asked: float
    answered: float


@dataclass
class Run:
    """What one run gave."""

    quiet: Records
    swapping: Records
    activations: list[Activation]
    mixed: int
    stale: int

    @property
    def ratio(self) -> float:
        return self.swapping.percentile(99.9) / self.quiet.percentile(99.9)


def answers_of(service: Service, model: str, versions: int) -> dict[int, list[tuple[str, float]]]:
    """What each version answers; neighbours differ."""
    found = {}
    for version in range(1, versions + 1):
        response = service.client.post(
            "/predict-next-word", json={"text": TEXTS[model], "model": f"{model}@{version}"}
        ).raise_for_status()
        found[version] = [(p["word"], p["probability"]) for p in response.json()["predictions"]]
    if found[1] == found[2]:
        sys.exit(f"versions of {model} answer the same: nothing could be told apart")
    return found


def version_of(body: bytes, expected: dict[int, list[tuple[str, float]]]) -> int:
    """The version that an answer names if all of the answer is that version's; otherwise FAILED or MIXED."""
    answer = json.loads(body or b"{}")
    if "predictions" not in answer:
        return FAILED
    version: int = answer["model"]["version"]
    wanted = expected.get(version, [])
    same = len(wanted) == len(answer["predictions"]) and all(
        found["word"] == word and abs(found["probability"] - probability) < 1e-4
        for found, (word, probability) in zip(answer["predictions"], wanted, strict=True)
    )
    return version if same and answer["continuation"] == wanted[0][0] else MIXED


def one_run(service: Service, model: str, rate: float, arguments: argparse.Namespace) -> Run:
    expected = answers_of(service, model, arguments.versions)
    body: dict[str, object] = {"text": TEXTS[model], "model": model}
    load = Load(service.port, service.folder, body, rate=rate, connections=CONNECTIONS, cores=arguments.load_cores)
    time.sleep(2)  # connections opened, caches warm
    activations: list[Activation] = []
    blocks: list[tuple[bool, float, float]] = []
    version = 1
    for block in range(2 * arguments.pairs):
        begin, swaps = time.monotonic(), block % 2 == 1
        if swaps:
            for i in range(ACTIVATIONS_A_BLOCK):
                at = begin + (i + 0.5) * arguments.seconds / ACTIVATIONS_A_BLOCK
                time.sleep(max(0.0, at - time.monotonic()))
                version, asked = version % arguments.versions + 1, time.monotonic()
                service.client.put(f"/models/{model}/active", json={"version": version}).raise_for_status()
                activations.append(Activation(version, asked, time.monotonic()))
        time.sleep(max(0.0, begin + arguments.seconds - time.monotonic()))
        blocks.append((swaps, begin, time.monotonic()))
    records = load.stop()
    quiet, swapping = (
        records.between(*((begin, end) for swaps, begin, end in blocks if swaps == wanted)) for wanted in (False, True)
    )
    told = np.array([version_of(answer, expected) for answer in records.bodies])  # the version of each answer
    answered = records.rows["status"] == 200
    versions = np.where(answered, told[records.rows["body"]], FAILED)
    mixed = int((versions == MIXED).sum())
    stale = 0
    for activation, following in zip(activations, [*activations[1:], None], strict=True):
        until = following.asked if following else blocks[-1][2]
        after = (records.rows["sent"] > activation.answered) & (records.rows["ended"] < until) & answered
        stale += int((versions[after] != activation.version).sum())
    return Run(quiet, swapping, activations, mixed, stale)


def capacity(service: Service, model: str, seconds: float, load_cores: set[int]) -> float:
    """Answers a second as fast as they come."""
    body: dict[str, object] = {"text": TEXTS[model], "model": model}
    load = Load(service.port, service.folder, body, rate=0, connections=CONNECTIONS, cores=load_cores)
    time.sleep(1 + seconds)
    end = time.monotonic() - 0.2
    return len(load.stop().between((end - seconds + 0.2, end))) / (seconds - 0.2)


def measure(service: Service, model: str, load: str, rate: float, arguments: argparse.Namespace) -> bool:
    """Print the runs of one model under one load; whether the bounds held."""
    runs = []
    for number in range(1, arguments.runs + 1):
        run = one_run(service, model, rate, arguments)
        runs.append(run)
        print(f"{model}, {load}, run {number}:", flush=True)
        for name, records in (("without", run.quiet), ("with", run.swapping)):
            figures = "  ".join(f"p{p:g} {records.percentile(p):7.2f}" for p in (50, 99, 99.9, 100))
            print(f"  {name:8} activations  {len(records):6} requests  {records.failed} failed  {figures} ms")
        took = [1000 * (a.answered - a.asked) for a in run.activations]
        print(
            f"  {len(took)} activations, each {statistics.median(took):.0f} ms (longest {max(took):.0f}); "
            f"{run.mixed} answers mix versions, {run.stale} from the old version after it; ratio {run.ratio:.2f}"
        )
    ratio = statistics.median(run.ratio for run in runs)
    wrong = sum(run.quiet.failed + run.swapping.failed + run.mixed + run.stale for run in runs)
    passed = wrong == 0 and (ratio <= BOUND or not rate)
    bound = f"bound {BOUND:g}" if rate else "no bound"
    print(
        f"{'PASS' if passed else 'FAIL'}  {model}, {load}: ratio of p99.9 {ratio:.2f} "
        f"(median of {len(runs)}, {bound}), {wrong} failed, mixed or stale answers\n",
        flush=True,
    )
    return passed


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hotswap", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short run each, to see that it works")
    parser.add_argument("--runs", type=int, default=3, help="runs whose median counts (3)")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of blocks a run, each with 4 activations (5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a block (4)")
    parser.add_argument(
        "--versions", type=int, default=22, help="versions to go round: 22 are too many to be kept, so each is loaded"
    )
    parser.add_argument("--share", type=float, default=0.6, help="steady load as a share of what is possible (0.6)")
    parser.add_argument("--models", nargs="+", choices=[*TEXTS], default=[SMALL, "next-word"])
    parser.add_argument("--loads", nargs="+", choices=["steady", "saturated"], default=["steady", "saturated"])
    parser.add_argument("--cores", type=int, nargs="+", default=[0], help="cores of the service (0)")
    parser.add_argument("--load-cores", type=int, nargs="+", default=[1], help="cores of the load generator (1)")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.runs, arguments.pairs, arguments.seconds = 1, 2, 2.0
    arguments.load_cores = set(arguments.load_cores)
    os.sched_setaffinity(0, arguments.load_cores)
    service = Service(cores=set(arguments.cores))
    print(f"{machine()}; service on core {arguments.cores}, {CONNECTIONS} connections", flush=True)
    passed = True
    try:
        prepare(service.data_dir, service.folder / "scratch", arguments.versions)
        service.start()
        for model in arguments.models:
            most = capacity(service, model, 3.0, arguments.load_cores)
            steady = arguments.share * most
            print(f"{model}: {most:.0f} answers a second; steady load {steady:.0f}\n", flush=True)
            for load in arguments.loads:
                passed &= measure(service, model, load, steady if load == "steady" else 0.0, arguments)
    finally:
        service.close()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
