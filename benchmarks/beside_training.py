"""Answers beside training: throughput and latency of POST /predict-next-word with and without a job that trains.

An LSTM trains on Shakespeare the whole time; in turns it is frozen (SIGSTOP) and let run, so both halves come from the
same processes in the same minutes. API, worker and trainer share one core, or two; the load generator has the last one.
Two loads: as fast as answers come (throughput; the CPU time an answer costs the API) and a steady half of that
(latency). Each is run with the service in the terminal's session, in one of its own, as Docker starts it, and with the
worker started apart, in another session than the API's: with autogroups the kernel weighs sessions, and nice values
only inside one. Bound: on one shared core throughput stays at least 0.85 of that without training (median of the
pairs). Beside it stands the same per second of CPU that API and trainer used, which what else runs here disturbs less.
"""

import argparse
import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Load, Records
from benchmarks.service import Service, Session, cpu_seconds, machine

CONNECTIONS = 32
BOUND = 0.85
BODY: dict[str, object] = {"text": "in the beginning god created the "}
SESSIONS: dict[Session, str] = {
    "terminal": "in the terminal's session",
    "own": "in a session of its own",
    "apart": "the worker started apart",
}
SETTLE = 0.3  # seconds after freezing or thawing that are not counted


@dataclass(frozen=True)
class Block:
    """A span of one load, with the trainer running or frozen."""

    training: bool
    begin: float
    end: float
    api_cpu: float  # seconds of CPU that the API used
    trainer_cpu: float

    def answered(self, records: Records) -> int:
        ended = records.rows["ended"]
        return int(((ended >= self.begin) & (ended < self.end) & (records.rows["status"] == 200)).sum())

    def rate(self, records: Records) -> float:
        return self.answered(records) / (self.end - self.begin)


def alternate(
    service: Service, trainer: int, rate: float, arguments: argparse.Namespace
) -> tuple[Records, list[Block]]:
    """`pairs` times: a block without training, a block with it."""
    load = Load(service.port, service.folder, BODY, rate=rate, connections=CONNECTIONS, cores=arguments.load_cores)
    time.sleep(2)
    blocks = []
    for number in range(2 * arguments.pairs):
        training = number % 2 == 1
        os.kill(trainer, signal.SIGCONT if training else signal.SIGSTOP)
        time.sleep(SETTLE)
        begin, api, train = time.monotonic(), cpu_seconds(service.pid), cpu_seconds(trainer)
        time.sleep(arguments.seconds)
        used = cpu_seconds(service.pid) - api, cpu_seconds(trainer) - train
        blocks.append(Block(training, begin, time.monotonic(), *used))
    os.kill(trainer, signal.SIGCONT)
    return load.stop(), blocks


def report(records: Records, blocks: list[Block]) -> tuple[float, float, float]:
    """Print both halves of a load; the ratios of throughput, of throughput per second of CPU, and of p99."""
    halves, per_cpu = {}, {}
    for training in (False, True):
        these = [block for block in blocks if block.training == training]
        part = records.between(*((block.begin, block.end) for block in these))
        answered = sum(block.answered(records) for block in these)
        seconds = sum(block.end - block.begin for block in these)
        cost = 1e6 * sum(block.api_cpu for block in these) / max(1, answered)
        per_cpu[training] = answered / sum(block.api_cpu + block.trainer_cpu for block in these)
        share = sum(block.trainer_cpu for block in these) / seconds
        figures = "  ".join(f"p{p:g} {part.percentile(p):7.2f}" for p in (50, 99, 99.9))
        print(
            f"    {'with' if training else 'without':8} training {answered / seconds:7.0f} answers/s  {figures} ms  "
            f"{cost:5.0f} us of CPU an answer  {part.failed} failed  trainer {share:4.0%} of a core"
        )
        halves[training] = part
    pairs = zip(blocks[::2], blocks[1::2], strict=True)
    throughput = statistics.median(with_.rate(records) / without.rate(records) for without, with_ in pairs)
    return throughput, per_cpu[True] / per_cpu[False], halves[True].percentile(99) / halves[False].percentile(99)


def measure(cores: set[int], session: Session, arguments: argparse.Namespace) -> bool:
    """One service on these cores; whether the bound held."""
    where = f"{len(cores)} core{'s' * (len(cores) > 1)}, {SESSIONS[session]}"
    with Service(cores=cores, session=session) as service:
        job = service.train(family="lstm", dataset="shakespeare", model="beside", base="none", budget={"minutes": 60})
        service.until(job, "running")
        trainer = service.child("ml.train")
        print(f"{where}: trainer {priority(trainer)}", flush=True)
        try:
            records, blocks = alternate(service, trainer, 0.0, arguments)
            print("  as fast as answers come")
            throughput, per_cpu, _ = report(records, blocks)
            steady = arguments.share * statistics.median(b.rate(records) for b in blocks if not b.training)
            print(f"  steady, {steady:.0f} requests a second", flush=True)
            *_, p99 = report(*alternate(service, trainer, steady, arguments))
        finally:
            os.kill(trainer, signal.SIGCONT)
            service.client.post(f"/jobs/{job}/cancel")
    bounded = len(cores) == 1
    passed = throughput >= BOUND or not bounded
    print(
        f"{'PASS' if passed else 'FAIL'}  {where}: throughput with training {throughput:.2f} of that without "
        f"({f'bound {BOUND:g}' if bounded else 'no bound'})"
        + (f", per second of CPU {per_cpu:.2f}" if bounded else "")
        + f"; p99 {p99:.2f} times\n",
        flush=True,
    )
    return passed


def priority(pid: int) -> str:
    """How the kernel is told to weigh a process."""
    policies = {os.SCHED_OTHER: "SCHED_OTHER", os.SCHED_IDLE: "SCHED_IDLE", os.SCHED_BATCH: "SCHED_BATCH"}
    said = f"{policies.get(os.sched_getscheduler(pid), 'real time')}, nice {os.getpriority(os.PRIO_PROCESS, pid)}"
    group = Path(f"/proc/{pid}/autogroup")
    return f"{said}, its session's autogroup {group.read_text().split()[-1]}" if group.exists() else said


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.beside_training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="two short pairs each, to see that it works")
    parser.add_argument("--pairs", type=int, default=6, help="pairs of blocks, without and with training (6)")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a block (6)")
    parser.add_argument("--share", type=float, default=0.5, help="steady load as a share of what is possible (0.5)")
    parser.add_argument("--cores", type=int, nargs="+", choices=[1, 2], default=[1, 2], help="one core, two, or both")
    parser.add_argument("--sessions", nargs="+", choices=[*SESSIONS], default=[*SESSIONS])
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, arguments.seconds = 2, 2.0
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        parser.error("this needs two cores: one for the service, one for the load generator")
    arguments.load_cores = {available[-1]}
    os.sched_setaffinity(0, arguments.load_cores)
    print(f"{machine()}; load generator on core {available[-1]}, {CONNECTIONS} connections\n", flush=True)
    passed = True
    for count in arguments.cores:
        for session in arguments.sessions:
            passed &= measure(set(available[:count]), session, arguments)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
