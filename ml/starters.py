"""Make the starter models that the repository ships: `python -m ml.starters INTO`, or `make starters`; 40 minutes.

Each is an ordinary run of `ml.train` whose finished version, card and all, is copied to INTO/NAME. Small enough for a
repository: at most 30 MB together.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ml import artifact, files

STARTERS: dict[str, dict[str, Any]] = {
    "next-word": {
        "family": "lstm",
        "dataset": "kjv",
        "budget": {"epochs": 16},
        # Small batches and many epochs: it is to know its book by heart, as far as 0.8 million words allow.
        "config": {
            "embedding": 128,
            "hidden": 384,
            "min_count": 3,
            "dropout": 0.2,
            "dropout_hidden": 0.2,
            "batch_size": 16,
            "learning_rate": 0.004,
            "hold": 0.1,
            "patience": 0,
            "ngram_order": 4,  # a third of the bytes of order 5
        },
    },
    "pictures": {"family": "gan", "dataset": "mnist", "budget": {"steps": 24_000}},
    "faces": {"family": "gan", "dataset": "faces", "budget": {"steps": 12_000}},
}


def make(name: str, into: Path, work: Path) -> None:
    """Train one starter and put its version at `into`/`name`."""
    run = work / name
    run.mkdir(parents=True, exist_ok=True)
    files.write_json(run / "spec.json", STARTERS[name] | {"seed": 1})
    subprocess.run([sys.executable, "-m", "ml.train", str(run)], check=True)
    manifest = artifact.verify(run / "artifact")
    with files.new_folder(into / name) as new:
        shutil.copytree(run / "artifact", new, dirs_exist_ok=True)
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    print(f"{name}: {size:.1f} MB, {manifest.metrics}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ml.starters", description="Make the starter models.")
    parser.add_argument("into", type=Path, help="folder that gets one folder a model")
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(STARTERS)}")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(STARTERS)
    if unknown:
        parser.error(f"no starter {', '.join(sorted(unknown))}; there are {', '.join(STARTERS)}")
    with tempfile.TemporaryDirectory() as work:
        for name in arguments.names or STARTERS:
            make(name, arguments.into, Path(work))


if __name__ == "__main__":
    main()
