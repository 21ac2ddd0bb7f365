"""Beyond one machine, on one: several APIs over one PostgreSQL, trainings on a Ray cluster, and random kills of both.

    .venv/bin/python -m benchmarks.cluster --part replicas
    .venv/bin/python -m benchmarks.cluster --part ray [--redis]
    .venv/bin/python -m benchmarks.cluster [--part kills] --kills 50 [--redis]

Each part's module says what it prints and what must be zero. Ray, nginx and PostgreSQL are installed where they are
missing, Ray in an environment under build/; `--redis` needs Debian's redis-server.
"""

import importlib
import sys

PARTS = ("replicas", "ray", "kills")


def main() -> int:
    part, arguments = "kills", sys.argv[1:]
    if arguments[:1] == ["--part"] and len(arguments) > 1:
        part, arguments = arguments[1], arguments[2:]
    if part not in PARTS or not sys.argv[1:]:
        print(__doc__)
        return 2
    return int(importlib.import_module(f"benchmarks.cluster.{part}").main(arguments))


if __name__ == "__main__":
    sys.exit(main())
