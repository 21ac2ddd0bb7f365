"""Does the service grow? 50 short trainings in a row, and what API and worker hold after the 5th and after the last.

Odd jobs train one model again and again, even ones a new model each time, and after each job the newest version is
asked for a word. Bound: the memory of API and worker grows by at most 5 % from the 20th training (warm-up: by then the
API keeps as many versions as it ever does) to the last; open files and threads do not grow.
"""

import argparse
import sys
import time
from dataclasses import dataclass

from benchmarks.service import Service, descriptors, machine, resident_bytes, threads

BOUND = 1.05
FEW = 3  # open files and threads that may come and go: connections, pools


@dataclass(frozen=True)
class Held:
    """What one process holds."""

    memory: int  # bytes, resident
    files: int
    threads: int


def held(service: Service) -> dict[str, Held]:
    time.sleep(1.0)  # what the last job left to be tidied up
    pids = {"API": service.pid, "worker": service.child("app worker")}
    return {name: Held(resident_bytes(pid), descriptors(pid), threads(pid)) for name, pid in pids.items()}


def show(number: int, now: dict[str, Held]) -> None:
    said = (f"{name} {h.memory / 2**20:6.1f} MiB {h.files:3} files {h.threads:2} threads" for name, h in now.items())
    print(f"after {number:3}  " + "   ".join(said), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="8 trainings, to see that it works")
    parser.add_argument("--trainings", type=int, default=50, help="trainings in a row (50)")
    parser.add_argument("--warm-up", type=int, default=20, help="trainings after which growth counts (20)")
    parser.add_argument("--epochs", type=int, default=20, help="of the lecture's model, each (20)")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.trainings, arguments.warm_up = 8, 3
    print(f"{machine()}; {arguments.trainings} trainings of {arguments.epochs} epochs", flush=True)
    at: dict[int, dict[str, Held]] = {}
    with Service() as service:
        service.client.post("/predict-next-word", json={"text": "in the "}).raise_for_status()
        show(0, held(service))
        for number in range(1, arguments.trainings + 1):
            model = "again" if number % 2 else f"model-{number}"
            job = service.train(
                family="lstm",
                dataset="lecture",
                preset="lecture",
                model=model,
                budget={"epochs": arguments.epochs},
                activate="always",
            )
            result = service.until(job, "succeeded")["result"]
            answer = service.client.post("/predict-next-word", json={"text": "i ", "model": model}).raise_for_status()
            if answer.json()["model"]["version"] != result["version"]:
                sys.exit(f"{model} answers from another version than {result['version']}")
            service.client.get(f"/jobs/{job}/events", headers={"Accept": "application/json"}).raise_for_status()
            if number in (5, arguments.warm_up, arguments.trainings) or number % 10 == 0:
                at[number] = held(service)
                show(number, at[number])
    passed = True
    first, last = at[arguments.warm_up], at[arguments.trainings]
    for name in first:
        growth = last[name].memory / first[name].memory
        from_5 = f" ({last[name].memory / at[5][name].memory:.3f} from the 5th)" if 5 in at else ""
        more = [last[name].files - first[name].files, last[name].threads - first[name].threads]
        held_still = growth <= BOUND and max(more) <= FEW
        passed &= held_still
        print(
            f"{'PASS' if held_still else 'FAIL'}  {name}: memory {growth:.3f} times that after {arguments.warm_up} "
            f"(bound {BOUND:g}){from_5}, {more[0]:+} files, {more[1]:+} threads"
        )
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
