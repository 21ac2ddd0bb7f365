"""Whoever trains: each makes ready, and then does one update after another. Must not know: bounds, or who is compared.

Words are the ids that an update looks at, pictures the real ones; a GAN's update of both networks counts once.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality import gans, word_language_model
from benchmarks.training.dcgan import BATCH, DCGAN
from ml import files
from ml.data import builtin, store
from ml.families import catalog
from ml.families.arithmetic import choose_products
from ml.process import keep_freed_memory

CPU = torch.device("cpu")
Update = Callable[[], int]  # one update: how many words or pictures it looked at
TEXT = "shakespeare"
PICTURES = {28: "mnist", 32: "faces", 64: "faces"}
THEIRS = {"embedding": 200, "hidden": 200, "layers": 2, "dropout": 0.2, "dropout_hidden": 0.2}
STREAMS = {"batch_size": word_language_model.STREAMS, "length": word_language_model.LENGTH}


def prepare(kind: str, dataset: str, config: dict[str, Any], folder: Path) -> tuple[Any, Any, Any]:
    """(family, config, data) of the product; data and its preparation are kept in `folder`."""
    family, source = catalog.load(kind), folder / "data" / dataset
    builtin.ensure(dataset, source)
    info = store.read_info(source)
    settled = family.spec.resolve(family.spec.config("auto", config), info)
    # What is prepared does not depend on the networks.
    prepared = folder / "prepared" / f"{dataset}-{settled.model_dump().get('size') or 'words'}-{info.sha256[:8]}"
    if not prepared.exists():
        with files.new_folder(prepared) as new:
            family.prepare(source, settled, new)
    return family, settled, family.load(prepared)


def ours(kind: str, dataset: str, folder: Path, device: torch.device = CPU, **config: Any) -> Update:
    """The product's own update, batches included. No evaluation, checkpoint or preview: those are other rows."""
    family, settled, data = prepare(kind, dataset, config, folder)
    keep_freed_memory()
    choose_products()
    torch.manual_seed(0)
    state = family.build(settled, data, device)
    state.progress = 0.1  # behind the warm-up of the rate

    def batches() -> Iterator[Any]:
        for epoch in itertools.count():
            state.epoch, state.batch = epoch, 0
            yield from family.batches(data, settled, 0, epoch, 0)

    stream = batches()

    def update() -> int:
        batch = next(stream)
        state.losses = family.train_step(state, settled, data, batch)
        state.step += 1
        state.batch += 1
        return int(batch[0].numel()) if kind == "lstm" else len(batch[0])

    return update


def example(folder: Path, batch: int, length: int, **sizes: int) -> Update:
    """word_language_model on the same ids."""
    _, _, data = prepare("lstm", TEXT, {}, folder)
    torch.manual_seed(0)
    model = word_language_model.WordLanguageModel(len(data.vocabulary), **sizes).train()
    stream = itertools.chain.from_iterable(
        word_language_model.batches(data.splits["train"], batch, length) for _ in itertools.count()
    )
    hidden: Any = None

    def update() -> int:
        nonlocal hidden
        x, y = next(stream)
        hidden = word_language_model.update(model, x, y, hidden, word_language_model.RATE)
        return x.numel()

    return update


def tutorial(folder: Path, size: int, batch: int = BATCH, widths: Sequence[int] | None = None) -> Update:
    """The DCGAN tutorial on the same pictures."""
    _, _, data = prepare("gan", PICTURES[size], {"size": size}, folder)
    pictures = data.splits["train"]
    torch.manual_seed(0)
    networks, random = DCGAN(size, pictures.shape[3], widths), np.random.default_rng(0)

    def update() -> int:
        networks.update(gans.to_tensor(pictures[np.sort(random.choice(len(pictures), batch, replace=False))]))
        return batch

    return update


CONTESTANTS: dict[str, Callable[[Path], Update]] = {
    "lstm": lambda folder: ours("lstm", TEXT, folder),
    "lstm-theirs": lambda folder: ours("lstm", TEXT, folder, **THEIRS, **STREAMS),
    "lstm-theirs-full": lambda folder: ours("lstm", TEXT, folder, **THEIRS, **STREAMS, negatives=0),
    "example": partial(example, batch=word_language_model.STREAMS, length=word_language_model.LENGTH),
    "example-ours": partial(example, batch=32, length=32, embedding=160, hidden=384, layers=1),
    **{f"gan-{size}": lambda folder, size=size: ours("gan", PICTURES[size], folder, size=size) for size in PICTURES},
    **{f"tutorial-{size}": partial(tutorial, size=size) for size in PICTURES},
    "tutorial-28-ours": partial(tutorial, size=28, batch=32, widths=(64, 32)),
    "tutorial-64-ours": partial(tutorial, size=64, batch=32, widths=(128, 96, 48, 24)),
}


def rate(name: str, seconds: float, folder: Path, threads: int = 1) -> dict[str, float]:
    """Words or pictures a second of CPU and of the clock, once it is warm."""
    torch.set_num_threads(threads)
    update = CONTESTANTS[name](folder)
    warm = time.process_time() + min(1.0, seconds / 2)
    while time.process_time() < warm:
        update()
    count = updates = 0
    begun, cpu = time.monotonic(), time.process_time()
    while time.process_time() - cpu < seconds * threads:
        count += update()
        updates += 1
    cpu, wall = time.process_time() - cpu, time.monotonic() - begun
    return {"cpu": count / cpu, "wall": count / wall, "updates": updates}


def products(seconds: float) -> dict[str, float]:
    """What this core multiplies, GFLOP a second of CPU: the best of a large and an update's own shapes."""
    torch.set_num_threads(1)
    choose_products()
    told: dict[str, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        best = 0.0
        for m, k, n in ((1024, 1024, 1024), (1024, 160, 1536)):
            a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
            a @ b
            until = time.process_time() + seconds / 4
            while time.process_time() < until:
                begun = time.process_time()
                for _ in range(10):
                    a @ b
                best = max(best, 20 * m * k * n / (time.process_time() - begun) / 1e9)
        told[str(dtype).removeprefix("torch.")] = best
    return told


def shares(kind: str, seconds: float, folder: Path) -> dict[str, float]:
    """Of a whole run of `seconds` of CPU, the shares that go into evaluations with previews, and into checkpoints."""
    from benchmarks.quality import ours as product

    torch.set_num_threads(1)
    dataset = TEXT if kind == "lstm" else PICTURES[28]
    builtin.ensure(dataset, folder / "data" / dataset)
    spent = {"_evaluate": 0.0, "_save": 0.0, "_saved": 0.0}
    trainer_class: Any = product.Trainer

    def timed(name: str) -> Callable[..., Any]:
        method = getattr(trainer_class, name)

        def wrapper(self: Any, *arguments: Any, **named: Any) -> Any:
            # The thread's own time: what is written beside the training is not waited for.
            begun, counts = time.thread_time(), self.state.progress < 1  # behind the budget it takes none of it
            try:
                return method(self, *arguments, **named)
            finally:
                spent[name] += counts * (time.thread_time() - begun)

        return wrapper

    for name in spent:
        setattr(trainer_class, name, timed(name))
    product.train(kind, folder / "data" / dataset, seconds, 0, folder / f"run-{kind}", {})
    return {"evaluations": spent["_evaluate"] / seconds, "checkpoints": spent["_save"] / seconds}
