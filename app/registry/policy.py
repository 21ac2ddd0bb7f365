"""Whether a new version takes over from the active one. Pure."""

from typing import Literal

from ml.artifact import Manifest

Policy = Literal["if_better", "always", "never"]


def decide(policy: Policy, new: Manifest, active: Manifest | None) -> tuple[bool, str]:
    """(activate, why). A first version is always activated, whatever the policy."""
    if active is None:
        return True, "the first version"
    if policy != "if_better":
        return policy == "always", f"activate is {policy!r}"
    if new.score != active.score:
        return False, "scored on different held-out data than the active version, so the two cannot be compared"
    metric = new.score.metric
    ours, theirs = new.metrics.get(metric), active.metrics.get(metric)
    if not isinstance(ours, int | float) or not isinstance(theirs, int | float):
        return False, f"{metric} is not known for both versions"
    better = ours > theirs if new.score.higher_is_better else ours < theirs
    by = f"{metric} {ours:.4g} against {theirs:.4g} of the active version"
    return better, f"better: {by}" if better else f"not better: {by}, {abs(ours - theirs):.4g} short"
