"""How a model and its versions are shown.

What a list shows comes from the database alone: a damaged folder does not break it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.core.tables import Model, Version
from app.registry.volume import KEY

MOST_SAMPLE_BYTES = 64 * 1024  # of a text; what is longer is cut


def summary(model: Model) -> dict[str, Any]:
    """A model in a list."""
    return {
        "name": model.name,
        "family": model.family,
        "modality": model.modality,
        "active": model.active,
        "created_at": model.created_at,
    }


def whole(model: Model, versions: Sequence[Version], previous: int | None) -> dict[str, Any]:
    """A model with its versions, and the one that a rollback would come to."""
    return summary(model) | {
        "previous": previous,
        "versions": [
            {k: v for k, v in row.card.items() if k not in ("created", KEY)}
            | {
                "version": row.version,
                "active": row.version == model.active,
                "job_id": row.job_id,
                "created_at": row.created_at,
            }
            for row in versions
        ],
    }


def card(model: Model, row: Version, folder: Path) -> dict[str, Any]:
    """Everything about one version; `folder` is where its files lie."""
    url = f"/models/{model.name}/versions/{row.version}"
    dataset = row.card["dataset"]
    return {
        "name": model.name,
        "version": row.version,
        "active": row.version == model.active,
        **{k: v for k, v in row.card.items() if k != KEY},
        "job_id": row.job_id,
        "created_at": row.created_at,
        "lineage": {
            "base": row.card.get("base"),
            "job_id": row.job_id,
            "dataset": dataset["name"],
            "sha256": dataset["sha256"],
        },
        "samples": _samples(row, folder, url),
        "export_url": f"{url}/export",
        "bytes": sum(entry["bytes"] for entry in row.card["files"].values()),
    }


def _samples(row: Version, folder: Path, url: str) -> list[dict[str, str]]:
    """Texts as they are, pictures by their address. One that cannot be read is left out: the rest is still true."""
    found: list[dict[str, str]] = []
    for name in row.card["files"]:
        if not name.startswith("samples/"):
            continue
        if name.endswith(".png"):
            found.append({"url": f"{url}/{name}"})
        elif name.endswith(".txt"):
            try:
                with (folder / name).open("rb") as file:
                    text = file.read(MOST_SAMPLE_BYTES)
            except OSError:
                continue
            found.append({"text": text.decode("utf-8", "replace").rstrip("\n")})
    return found
