"""What the tests of the craft share: one thread, the data sets, and one finished run of each family."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ml.data import builtin
from ml.families import catalog
from tests.ml import tiny
from tests.ml.tiny import Finished


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built-in data sets; a test makes those it needs with `builtin.ensure`."""
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="session")
def lecture(datasets: Path) -> Path:
    builtin.ensure("lecture", datasets / "lecture")
    return datasets / "lecture"


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny data set for each family, by the family's name."""
    folder = tmp_path_factory.mktemp("sources")
    specs = catalog.IMPLEMENTATIONS.items()
    return {name: tiny.write_dataset(folder / f"for-{name}", spec.modality) for name, spec in specs}


@pytest.fixture(scope="session")
def finished(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Finished]:
    """The finished tiny run of a family; trained once. Read it, change nothing in it."""
    done: dict[str, Finished] = {}

    def of(family: str) -> Finished:
        if family not in done:
            run = tiny.new_run(tmp_path_factory.mktemp(f"finished-{family}"), family)
            done[family] = tiny.finish(run, sources[family])
        return done[family]

    return of


@pytest.fixture(scope="session")
def one_layer(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text version of one layer, whose words are looked up."""
    run = tiny.new_run(tmp_path_factory.mktemp("one-layer"), "lstm", config={"layers": 1})
    return tiny.finish(run, sources["lstm"]).run.artifact


@pytest.fixture(scope="session")
def lecture_run(lecture: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The lecture preset as a run of its 500 epochs."""
    run = tiny.new_run(
        tmp_path_factory.mktemp("lecture-run"), "lstm", preset="lecture", budget={}, config={"evaluations": 5}
    )
    return tiny.finish(run, lecture)
