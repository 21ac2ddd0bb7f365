"""Jobs that measure a version instead of training one. They lie among the others. Pure."""

import secrets
from collections.abc import Sequence

from app.core.tables import EVALUATION, Job, Version


def evaluation(version: Version, dataset: str, parts: Sequence[str] | None) -> Job:
    """The job, not yet queued, that measures `version` on a data set; `parts` of a text model may answer."""
    return Job(
        id=f"job_{secrets.token_hex(8)}",
        family=version.card["family"],
        dataset=dataset,
        model=version.model,
        preset=EVALUATION,
        config={} if parts is None else {"parts": list(parts)},
        seed=0,
        budget={},
        activate="never",
        base=f"{version.model}@{version.version}",
        priority=0,
    )
