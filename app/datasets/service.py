"""Which data sets there are, and where each lies in the volume. Must not know: jobs, models."""

from pathlib import Path

from app.core.errors import NotFound
from ml.data import builtin, store
from ml.data.store import DatasetInfo


class Datasets:
    """The built-in data sets; what has been prepared lies in the volume under datasets/NAME."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[tuple[DatasetInfo, bool]]:
        """Each data set, and whether it has been prepared yet (counts and hash are known from then on)."""
        return [self._read(name) for name in builtin.BUILTIN]

    def get(self, name: str) -> DatasetInfo:
        """Raises NotFound naming those that exist."""
        if name not in builtin.BUILTIN:
            raise NotFound(f"there is no data set {name!r}; there are {', '.join(builtin.BUILTIN)}")
        return self._read(name)[0]

    def prepare(self, name: str) -> DatasetInfo:
        """Make a built-in data set's folder now. Raises NotFound, DatasetError."""
        self.get(name)
        return builtin.ensure(name, self.folder / name)

    def _read(self, name: str) -> tuple[DatasetInfo, bool]:
        path = self.folder / name
        return (
            (store.read_info(path), True) if (path / "dataset.json").exists() else (builtin.BUILTIN[name].info, False)
        )
