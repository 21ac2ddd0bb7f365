"""The volume and the table together: whatever was killed when, a row has its folder, and nothing else stays."""

from pathlib import Path

import pytest

from app.core.errors import Conflict, Crashed, Invalid, NotReady
from app.core.tables import Dataset
from app.services import Services
from tests.app.uploading import STUB, TEXT, leftovers


def test_files_of_this_machine(services: Services, tmp_path: Path) -> None:
    datasets = services.datasets
    datasets.reader.command = STUB
    file = tmp_path / "poems.txt"
    file.write_bytes(TEXT)
    entry, duplicate = datasets.add_files([file], {"licence": "CC0-1.0"})
    assert (entry.info.name, entry.info.licence, entry.bytes, duplicate) == ("poems", "CC0-1.0", len(TEXT), False)
    assert file.read_bytes() == TEXT
    assert datasets.add_files([file], {})[1]
    with pytest.raises(Invalid):
        datasets.add_files([tmp_path], {})
    assert leftovers(services.data_dir) == [datasets.folder / entry.id]
    file.write_bytes(b"crash")
    with pytest.raises(Crashed):
        datasets.add_files([file], {})
    datasets.close()
    file.write_bytes(b"wait")
    with pytest.raises(NotReady):
        datasets.add_files([file], {})
    assert leftovers(services.data_dir) == [datasets.folder / entry.id]


def test_a_row_without_its_folder_is_mended_by_the_same_upload(services: Services, tmp_path: Path) -> None:
    datasets = services.datasets
    datasets.reader.command = STUB
    file = tmp_path / "poems.txt"
    file.write_bytes(TEXT)
    entry, _ = datasets.add_files([file], {})
    datasets.path(entry.id).rename(tmp_path / "gone")
    assert datasets.add_files([file], {})[1]
    assert (datasets.path(entry.id) / "text.txt").read_bytes() == TEXT


def test_sweep_keeps_what_is_listed_or_alive(services: Services, tmp_path: Path) -> None:
    datasets = services.datasets
    datasets.reader.command = STUB
    file = tmp_path / "poems.txt"
    file.write_bytes(TEXT)
    entry, _ = datasets.add_files([file], {})
    unlisted, half_made, dead = (
        datasets.folder / "ds_0",
        datasets.folder / ".kjv.12345678",
        datasets.uploads.parent / "d",
    )
    foreign = datasets.folder / ".mine.12345678"
    alive = datasets.uploads / "upload"
    for folder in (unlisted, half_made, dead, foreign, alive):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    services.sweep()
    assert not any(folder.exists() for folder in (unlisted, half_made, dead))
    assert foreign.exists()
    assert alive.exists()
    assert datasets.path(entry.id).exists()


def test_an_upload_over_an_unlisted_folder(services: Services, tmp_path: Path) -> None:
    datasets = services.datasets
    datasets.reader.command = STUB
    file = tmp_path / "poems.txt"
    file.write_bytes(TEXT)
    entry, _ = datasets.add_files([file], {})
    with datasets.database.write() as session:  # as if it was killed before the row was written
        session.delete(session.get(Dataset, entry.id))
    (datasets.folder / entry.id / "text.txt").write_text("half")
    again, duplicate = datasets.add_files([file], {})
    assert (again.id, duplicate) == (entry.id, False)
    assert (datasets.path(entry.id) / "text.txt").read_bytes() == TEXT


def test_a_built_in_one_cannot_be_deleted(services: Services) -> None:
    with pytest.raises(Conflict):
        services.datasets.delete("lecture")
    assert services.datasets.source("lecture") == "lecture"
    assert services.datasets.preview("lecture") is None
