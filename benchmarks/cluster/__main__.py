"""Beyond one machine, on one: several APIs over one PostgreSQL (`--part replicas`), trainings on a Ray cluster (`ray`).

    .venv/bin/python -m benchmarks.cluster --part ray
    .venv/bin/python -m benchmarks.cluster --part ray --kills 50 [--redis]
    .venv/bin/python -m benchmarks.cluster --part replicas

Each part's module says what it prints and what must be zero. Ray, Redis, nginx and PostgreSQL are installed where they
are missing, Ray in an environment under build/.
"""

import importlib
import sys

PARTS = ("ray", "replicas")


def main() -> int:
    arguments = sys.argv[1:]
    if len(arguments) < 2 or arguments[0] != "--part" or arguments[1] not in PARTS:
        print(__doc__)
        return 2
    return int(importlib.import_module(f"benchmarks.cluster.{arguments[1]}").main(arguments[2:]))


if __name__ == "__main__":
    sys.exit(main())
