"""Jobs that measure a version instead of training one. They lie among the others, told apart by their preset: no family
has one of this name. Pure.
"""

import secrets
from collections.abc import Sequence

from app.core.tables import Job, Version

PRESET = "evaluate"


def evaluation(version: Version, dataset: str, parts: Sequence[str] | None) -> Job:
    """The job, not yet queued, that measures `version` on a data set; `parts` of a text model may answer."""
    return Job(
        id=f"job_{secrets.token_hex(8)}",
        family=version.card["family"],
        dataset=dataset,
        model=version.model,
        preset=PRESET,
        config={} if parts is None else {"parts": list(parts)},
        seed=0,
        budget={},
        activate="never",
        base=f"{version.model}@{version.version}",
        priority=0,
    )


def is_evaluation(job: Job) -> bool:
    return job.preset == PRESET
