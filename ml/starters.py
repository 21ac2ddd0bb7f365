"""Make the starter models that the repository ships: `python -m ml.starters INTO`, or `make starters`; next-word alone
takes an hour of two cores.

Each is an ordinary run of `ml.train` whose finished version, card and all, is copied to INTO/NAME. Small enough for a
repository: at most 50 MB together.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ml import artifact, cpus, files

ENGLISH: dict[str, Any] = {
    "family": "lstm",
    "budget": {"epochs": 4},
    "config": {
        "embedding": 128,
        "hidden": 384,
        "max_words": 16_000,
        "min_count": 4,
        "dropout": 0.1,
        "dropout_hidden": 0.1,
        "batch_size": 32,
        "length": 32,
        "learning_rate": 0.004,
        "hold": 0.3,
        "patience": 0,
        "ngram_order": 3,
        "evaluations": 8,
    },
}
STARTERS: dict[str, dict[str, Any]] = {
    # From what English in general has taught it (`make` trains that first): the texts of users start from it.
    "next-word": {
        "family": "lstm",
        "dataset": "kjv",
        "base_reference": "english",
        "budget": {"epochs": 8},  # with 12 it is better at its book, and worse at what starts from it
        "config": {
            "max_words": 20_000,
            "min_count": 3,
            "dropout": 0.1,
            "dropout_hidden": 0.1,
            "batch_size": 16,
            "learning_rate": 0.0015,
            "hold": 0.0,
            "patience": 0,
            "ngram_order": 4,  # a third of the bytes of order 5
        },
    },
    "pictures": {"family": "gan", "dataset": "mnist", "budget": {"steps": 24_000}},
    "faces": {"family": "gan", "dataset": "faces", "budget": {"steps": 12_000}},
}


def make(name: str, into: Path, work: Path, english: Path) -> None:
    """Train one starter and put its version at `into`/`name`. `english`: the data set's folder."""
    spec = STARTERS[name]
    if spec.get("base_reference") == "english":
        base = train("english", ENGLISH | {"dataset": str(english)}, work)
        spec = spec | {"base": str(base)}
    made = train(name, spec, work)
    manifest = artifact.verify(made)
    with files.new_folder(into / name) as new:
        shutil.copytree(made, new, dirs_exist_ok=True)
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    print(f"{name}: {size:.1f} MB, {manifest.metrics}", flush=True)


def train(name: str, spec: dict[str, Any], work: Path) -> Path:
    """The folder of the finished version."""
    run = work / name
    run.mkdir(parents=True, exist_ok=True)
    files.write_json(run / "spec.json", spec | {"seed": 1, "threads": cpus.available()})
    subprocess.run([sys.executable, "-m", "ml.train", str(run)], check=True)
    return run / "artifact"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ml.starters", description="Make the starter models.")
    parser.add_argument("into", type=Path, help="folder that gets one folder a model")
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(STARTERS)}")
    parser.add_argument(
        "--english", type=Path, default=Path("build/english"), help="what scripts/english.py made: for next-word"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(STARTERS)
    if unknown:
        parser.error(f"no starter {', '.join(sorted(unknown))}; there are {', '.join(STARTERS)}")
    with tempfile.TemporaryDirectory() as work:
        for name in arguments.names or STARTERS:
            make(name, arguments.into, Path(work), arguments.english.resolve())


if __name__ == "__main__":
    main()
