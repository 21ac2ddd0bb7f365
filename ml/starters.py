"""Make the starter models that the repository ships: `python -m ml.starters INTO`, or `make starters`; the four
stages of next-word took 105 minutes of two cores, the last two in a slow hour.

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

Spec = dict[str, Any]

ENGLISH: Spec = {
    "family": "lstm",
    "dataset": "broad",
    "budget": {"epochs": 5},
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
BIBLE: Spec = {
    "family": "lstm",
    "dataset": "kjv",
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
}
# What next-word goes through, one from the other: what English in general teaches, which the texts of users start from;
# then, with the vocabulary that it is to have, which forgets the words of `broad` that hide others; then its own book.
NEXT_WORD: dict[str, Spec] = {
    "english": ENGLISH,
    "next-word-of-verse": BIBLE,
    "common": ENGLISH
    | {
        "dataset": "common",
        "budget": {"epochs": 2},
        "config": ENGLISH["config"] | {"own_words": True, "learning_rate": 0.002, "hold": 0.1},
    },
    "next-word": BIBLE | {"budget": {"epochs": 4}},
}
ENGLISH_SETS = ("broad", "common")
STARTERS: dict[str, dict[str, Spec]] = {
    "next-word": NEXT_WORD,
    "pictures": {"pictures": {"family": "gan", "dataset": "mnist", "budget": {"steps": 24_000}}},
    "faces": {"faces": {"family": "gan", "dataset": "faces", "budget": {"steps": 12_000}}},
}


def make(name: str, into: Path, work: Path, english: Path) -> None:
    """Train one starter and put its version at `into`/`name`. `english`: the folder of the data sets ENGLISH_SETS."""
    before: Spec = {}
    for stage, spec in STARTERS[name].items():
        source = {"dataset": str(english / spec["dataset"])} if spec["dataset"] in ENGLISH_SETS else {}
        made = train(stage, spec | before | source, work)
        before = {"base": str(made), "base_reference": stage}
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
