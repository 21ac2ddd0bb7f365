"""Backup and restore: taken while jobs run and versions come and go, put back elsewhere."""

import io
import os
import shutil
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app import backup
from app.backup import BackupError, back_up, restore
from app.core.config import Settings
from app.core.errors import StartError
from app.locks import hold
from app.registry.volume import Volume
from app.services import STARTERS, Services
from app.training.launcher import ProcessLauncher
from app.training.service import Training
from app.training.worker import Worker
from ml import artifact, files
from ml.run import RunDir

from .test_worker import Running, ScriptedRun, make, wait_for


def busy(run: RunDir) -> ScriptedRun:
    """A run that goes on: its log grows and its checkpoint is replaced, without pause."""
    made = ScriptedRun(run, None)

    def work() -> None:
        run.emit("status", status="running", step=0, device="cpu")
        run.checkpoints.mkdir()
        step = 0
        while made.code is None:
            step += 1
            files.write_bytes(run.checkpoints / f"{step:08d}.bin", str(step).encode() * 20_000)
            (run.checkpoints / f"{step - 1:08d}.bin").unlink(missing_ok=True)
            run.emit("checkpoint", step=step)
            run.emit("progress", step=step, progress=0.1, loss=1 / step)

    threading.Thread(target=work, daemon=True).start()
    return made


@pytest.fixture
def target(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "elsewhere")


def test_a_running_job_goes_on_in_another_folder(
    services: Services, settings: Settings, target: Settings, tmp_path: Path
) -> None:
    services.registry.install_starters(STARTERS)
    text = tmp_path / "mine.txt"
    text.write_text("the tide comes in at noon\n" * 40)
    mine, _ = services.datasets.add_files([text], {})
    job = services.jobs.enqueue(Training("lstm", mine.id, base="next-word@1")).id
    worker, _ = make(services, busy)
    with Running(worker):
        wait_for(lambda: services.jobs.get(job).step > 3)
        assert back_up(settings, tmp_path / "all.tar") == (tmp_path / "all.tar").stat().st_size
    about = restore(target, tmp_path / "all.tar")
    assert about["data_dir"] == str(settings.data_dir.resolve())

    there = Services(target)
    try:
        held = there.jobs.get(job)
        assert held.status == "running"
        assert there.datasets.get(mine.id).sha256 == mine.info.sha256
        for name in ("next-word", "pictures", "faces"):
            artifact.verify(there.registry.path(name, 1))
        run = RunDir(there.jobs.runs / job)
        assert len(list(run.checkpoints.iterdir())) >= 1
        assert run.events_file.stat().st_size >= held.events_offset
        spec = run.read_spec()
        for path in (spec.dataset, spec.base, spec.datasets):
            assert path is not None
            assert Path(path).is_relative_to(target.data_dir.resolve())
        again = Worker(there.jobs, there.attempts, there.registry, ProcessLauncher())
        again._recover()
        assert there.jobs.get(job).status == "queued"
        assert there.jobs.get(job).checkpoint_step >= held.checkpoint_step  # type: ignore[operator]
    finally:
        there.close()


def test_what_is_deleted_meanwhile_is_no_half_of_it(
    services: Services,
    settings: Settings,
    target: Settings,
    lecture_version: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services.registry.register(lecture_version, "a")
    services.registry.register(lecture_version, "b")
    copy, copies = backup._copy_database, []

    def delete_after(source: Path, to: Path) -> set[str]:
        needed = copy(source, to)
        copies.append(len(needed))
        if len(copies) == 1:
            services.registry.delete_model("a")
        return needed

    monkeypatch.setattr(backup, "_copy_database", delete_after)
    back_up(settings, tmp_path / "all.tar")
    assert len(copies) == 2
    restore(target, tmp_path / "all.tar")
    there = Services(target)
    assert [model.name for model in there.registry.models()] == ["b"]
    there.close()


def test_a_checkpoint_that_is_replaced_meanwhile_is_in_it(
    services: Services, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = services.jobs.runs / "a" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "1").write_text("old")
    add = tarfile.TarFile.add

    def replace_first(tar: tarfile.TarFile, path: Path, name: str, **options: bool) -> None:
        if path.name in "12":
            path.rename(checkpoints / str(int(path.name) + 1))
        add(tar, path, name, **options)

    monkeypatch.setattr(tarfile.TarFile, "add", replace_first)
    back_up(settings, tmp_path / "all.tar")
    with tarfile.open(tmp_path / "all.tar") as tar:
        names = tar.getnames()
    assert [name for name in names if name.startswith("runs/a")] == [
        "runs/a",
        "runs/a/checkpoints",
        "runs/a/checkpoints/3",
    ]
    assert len(names) == len(set(names))


def refused(act: Callable[[], object], says: str) -> None:
    with pytest.raises(StartError, match=says):
        act()


def test_what_cannot_be_done_is_said(services: Services, settings: Settings, target: Settings, tmp_path: Path) -> None:
    file = tmp_path / "all.tar"
    refused(lambda: back_up(target, file), "nothing of Inkling")
    refused(lambda: back_up(settings, settings.data_dir / "all.tar"), "elsewhere")
    back_up(settings, file)
    refused(lambda: restore(settings, file), "empty folder")
    os.truncate(file, 700)
    refused(lambda: restore(target, file), "cannot be restored")
    lock = hold(target.make_data_dir(), "service")
    refused(lambda: restore(target, file), "another service")
    lock.release()


def test_a_backup_cannot_write_outside(target: Settings, tmp_path: Path) -> None:
    file = tmp_path / "evil.tar"
    with tarfile.open(file, "w") as tar:
        entry = tarfile.TarInfo("models/../../../escaped")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(BackupError):
        restore(target, file)
    assert not list(tmp_path.rglob("escaped"))
    assert not (target.data_dir / "models").exists()


def test_half_done_work_is_left_out(services: Services, settings: Settings, tmp_path: Path) -> None:
    services.registry.install_starters(STARTERS)
    incoming = Volume(settings.data_dir / "models").incoming / "x"
    shutil.copytree(services.registry.path("faces", 1), incoming)
    with services.datasets.scratch() as scratch:
        (scratch / "part").write_bytes(b"x")
        back_up(settings, tmp_path / "all.tar")
    with tarfile.open(tmp_path / "all.tar") as tar:
        names = tar.getnames()
    assert names[:2] == ["inkling-backup.json", "inkling.db"]
    assert "models/faces/1/manifest.json" in names
    assert not [name for name in names if "/." in name or name.startswith(("uploads", "."))]
