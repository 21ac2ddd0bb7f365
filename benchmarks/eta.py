"""How right `eta_seconds` is, for jobs with a budget in minutes.

    .venv/bin/python -m benchmarks.eta

For each job: what it said was left, against what was left, from a tenth of its progress on. The bound is an error of
20 % of what was left; of the last five seconds, in which that would be less than one, the error is printed alone.
"""

import argparse
import sys
import time
from typing import Any

from benchmarks.service import Service, machine

ENDED = ("succeeded", "failed", "cancelled")
BOUND = 0.2


def watch(service: Service, job_id: str) -> list[tuple[float, float, float]]:
    """(progress, said to be left, really left) at every look, seconds; the end is when the job has succeeded."""
    seen: list[tuple[float, float, float]] = []
    while True:
        job: dict[str, Any] = service.client.get(f"/jobs/{job_id}").json()
        if job["status"] in ENDED:
            break
        if job["progress"] >= 0.1 and job["eta_seconds"] is not None:
            seen.append((job["progress"], job["eta_seconds"], time.monotonic()))
        time.sleep(0.5)
    if job["status"] != "succeeded":
        sys.exit(f"{job_id} {job['status']}: {job['error']}")
    end = time.monotonic()
    return [(progress, said, end - at) for progress, said, at in seen]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="budget of each job")
    options = parser.parse_args()
    jobs = [{"family": "lstm", "dataset": "kjv"}, {"family": "gan", "dataset": "mnist"}]
    right = True
    with Service() as service:
        print(f"{'job':12}{'looks':>6}{'at 10 %: said':>15}{'was':>7}{'ratio':>7}{'worst error':>13}{'at the end':>12}")
        for body in jobs:
            budget = {"minutes": options.minutes}
            seen = watch(service, service.train(**body, budget=budget, model="eta-" + body["family"]))
            errors = [abs(said - left) / left for _, said, left in seen if left >= 5]
            end = max(abs(said - left) for _, said, left in seen if left < 5)
            _, said, left = seen[0]
            name = f"{body['family']} {body['dataset']}"
            print(f"{name:12}{len(seen):6}{said:15.1f}{left:7.1f}{said / left:7.2f}{max(errors):12.1%}{end:10.1f} s")
            right = right and max(errors) <= BOUND
    print(machine())
    print("PASS" if right else f"FAIL: more than {BOUND:.0%} off")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
