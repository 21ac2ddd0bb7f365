"""Whether a run's numbers still are numbers. Knows no model, and not what is done about it."""

import math

import torch

from ml.families.base import RanAway, State


def losses(state: State) -> dict[str, float]:
    """The last step's losses as numbers. Raises RanAway when one is no longer a number."""
    numbers = {name: float(loss) for name, loss in state.losses.items()}
    for name, loss in numbers.items():
        if not math.isfinite(loss):
            raise RanAway(f"{name} became {loss} at step {state.step:,}: training ran away; try a lower learning_rate")
    return numbers


def check_weights(state: State) -> None:
    """Raises RanAway when the last update left a weight that is no number; its loss was still one."""
    weights = [p.detach() for module in state.modules.values() for p in module.parameters()]
    if not torch.nn.utils.get_total_norm(weights).isfinite():  # one pass, and no mask as large as the weights
        raise RanAway(f"weights became infinite at step {state.step:,}: training ran away; try a lower learning_rate")
