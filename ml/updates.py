"""One update after another: as the loop makes them, and as the other processes of a training follow it.

Must not know: when to stop, evaluate or save.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ml import checkpoint, parallel
from ml.families import catalog
from ml.families.arithmetic import choose_products
from ml.families.base import Family, State, TrainingError
from ml.parallel import Order
from ml.process import keep_freed_memory


def batches(family: Family[Any, Any], data: Any, config: Any, seed: int, state: State) -> Iterator[Any]:
    """From where `state` stands, without end. Raises TrainingError when there are none."""
    while True:
        empty = True
        for batch in family.batches(data, config, seed, state.epoch, state.batch):
            empty = False
            yield batch
        if empty:
            raise TrainingError("there is too little data for a single batch; give it more")


def update(
    family: Family[Any, Any], state: State, config: Any, data: Any, coming: Iterator[Any], steps_per_epoch: int
) -> None:
    """Learn from the next batch, and count it."""
    state.losses = family.train_step(state, config, data, next(coming))
    state.step += 1
    state.batch += 1
    if state.batch >= steps_per_epoch:
        state.epoch, state.batch = state.epoch + 1, 0


def share(family: Family[Any, Any], config: Any, seed: int, state: State) -> None:
    """Bring the other processes to where this one stands."""
    name = next(key for key, spec in catalog.IMPLEMENTATIONS.items() if spec is family.spec)
    told = {"family": name, "config": config.model_dump(), "seed": seed}
    parallel.tell_state(lambda: checkpoint.dumps({**told, "state": state.tree()}))


def follow(prepared: Path) -> None:
    """Do what the first process says, on the data that it prepared, until it says that this is the end.

    Raises RankLost.
    """
    choose_products()
    keep_freed_memory()
    order, _, sent = parallel.hear()
    while order is Order.STATE:
        told = checkpoint.loads(sent)
        family = catalog.load(told["family"])
        config = family.spec.Config.model_validate(told["config"])
        data = family.load(prepared)
        state = family.build(config, data, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        state.load_tree(told["state"])
        coming, per_epoch = batches(family, data, config, told["seed"], state), family.steps_per_epoch(data, config)
        while (order := (heard := parallel.hear())[0]) is Order.STEP:
            state.progress = heard[1]
            update(family, state, config, data, coming, per_epoch)
        sent = heard[2]
