"""What tests of both halves share: small versions made by real training, and an environment without settings."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.data import builtin, store
from ml.data.store import DatasetInfo
from ml.families import catalog
from ml.run import Budget, RunDir, RunSpec
from ml.trainer import Trainer

torch.set_num_threads(1)  # as every process of the service does: two beside any load cost ten times

if "PYTEST_XDIST_WORKER" in os.environ:
    # Coverage is that of the tests' own processes: in the services and trainers that they start it takes 29 % of the
    # CPU, for lines that are nearly all reached here as well.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under CI nothing may be skipped: what a test needs is there, or it is an error."""
    if os.environ.get("CI") != "true":
        return
    for item in items:
        for marker in item.iter_markers("skipif"):
            if marker.args and marker.args[0]:
                raise pytest.UsageError(f"{item.nodeid} would be skipped under CI: {marker.kwargs.get('reason')}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("INKLING_"):
            monkeypatch.delenv(name)


def train(folder: Path, source: Path, spec: RunSpec) -> Path:
    """Train in this process; returns the finished version's folder."""
    run = RunDir(folder)
    run.path.mkdir(parents=True)
    Trainer(run, spec, catalog.load(spec.family), source).fit()
    return run.artifact


@pytest.fixture(scope="session")
def lecture_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lecture's model, trained as the lecture does."""
    folder = tmp_path_factory.mktemp("lecture")
    builtin.ensure("lecture", folder / "data")
    return train(folder / "run", folder / "data", RunSpec(family="lstm", dataset="lecture", preset="lecture"))


@pytest.fixture(scope="session")
def pictures_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GAN of a few steps on 200 gray squares: it draws noise, but every route can be walked with it."""
    folder = tmp_path_factory.mktemp("pictures")
    pictures = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), dtype=np.uint8)
    info = DatasetInfo(name="noise", title="Noise", modality="image", licence="CC0-1.0", attribution="A test")
    store.write_images(folder / "data", info, pictures)
    config = {"channels": [8, 4], "latent": 8, "batch_size": 16, "evaluations": 1}
    spec = RunSpec(family="gan", dataset="noise", config=config, budget=Budget(steps=4))
    return train(folder / "run", folder / "data", spec)
