"""Who may write into a run's folder: the newest attempt alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml import fence, files
from ml.fence import SUPERSEDED, Current, Fence, Sign
from ml.run import ExitCode, RunDir

HANG = 120.0


class Ended(Exception):
    """In place of the process's end."""


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    yield
    fence._held = None


def test_the_one_that_was_named_beats_and_says_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "BEAT_SECONDS", 0.01)
    assert fence.current(tmp_path) is None
    fence.allow(tmp_path, "job-1.a")
    assert fence.current(tmp_path) == Current("job-1.a", "run")
    assert fence.sign_of(tmp_path, "job-1.a") is None
    fence.hold(tmp_path, "job-1.a")
    deadline = time.monotonic() + HANG
    while (sign := fence.sign_of(tmp_path, "job-1.a")) is None or sign.beat < 3:
        assert time.monotonic() < deadline
    assert sign.code is None
    files.write_bytes(tmp_path / "file", b"x")  # it may write
    RunDir(tmp_path).emit("message", text="so it does")
    fence.let_go(ExitCode.INTERRUPTED)
    last = fence.sign_of(tmp_path, "job-1.a")
    assert last is not None
    assert last.code == ExitCode.INTERRUPTED
    assert last.beat > sign.beat
    fence.let_go(ExitCode.FAILED)  # nobody's
    fence.check()
    assert fence.sign_of(tmp_path, "job-1.a") == last


def test_a_new_one_takes_the_place_and_the_old_one_publishes_nothing(tmp_path: Path, mortal: None) -> None:
    fence.allow(tmp_path, "job-1.a")
    fence._held = Fence(tmp_path, "job-1.a")
    fence._held._say(None)
    fence.allow(tmp_path, "job-2.b")
    assert fence.sign_of(tmp_path, "job-1.a") is None  # what it left is gone
    with pytest.raises(Ended, match=str(SUPERSEDED)):
        files.write_bytes(tmp_path / "file", b"x")
    with pytest.raises(Ended), files.new_folder(tmp_path / "artifact") as new:
        (new / "file").write_bytes(b"x")
    with pytest.raises(Ended):
        RunDir(tmp_path).emit("done")
    assert [path.name for path in tmp_path.iterdir()] == ["attempts"]


def test_an_order_reaches_it_by_the_folder(
    tmp_path: Path, mortal: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fence.tell(tmp_path, "end")  # nobody there
    assert fence.current(tmp_path) is None
    monkeypatch.setattr(fence, "BEAT_SECONDS", 0.01)
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        fence.allow(tmp_path, "job-1.a")
        held = Fence(tmp_path, "job-1.a")
        held.start()
        fence.tell(tmp_path, "stop")
        deadline = time.monotonic() + HANG
        while not told:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        beat = held._beat
        while held._beat < beat + 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert told == [signal.SIGTERM]  # once
        held.end(ExitCode.INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)
    fence.tell(tmp_path, "end")
    with pytest.raises(Ended):
        held.check()
    assert "job-1.a ends: another attempt has taken its place, or it was told to end" in capfd.readouterr().err


def test_who_cannot_say_that_it_lives_ends(tmp_path: Path, mortal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "BEAT_SECONDS", 0.0)
    fence.allow(tmp_path, "job-1.a")
    held = Fence(tmp_path, "job-1.a")

    def away(_: object) -> None:
        raise OSError("the volume is away")

    monkeypatch.setattr(held, "_say", away)
    held._beaten = time.monotonic() - fence.GIVE_UP_SECONDS - 1
    with pytest.raises(Ended):
        held._run()


def test_a_volume_that_is_away_at_the_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fence.allow(tmp_path, "job-1.a")
    held = Fence(tmp_path, "job-1.a")
    held.start()

    def away() -> None:
        raise OSError("the volume is away")

    monkeypatch.setattr(held, "check", away)
    held.end(0)
    assert "the end of job-1.a cannot be told: the volume is away" in capsys.readouterr().out


def test_files_that_a_power_cut_emptied_are_as_none(tmp_path: Path) -> None:
    fence.allow(tmp_path, "job-1.a")
    (tmp_path / "attempts" / "current.json").write_bytes(b"")
    assert fence.current(tmp_path) is None
    (tmp_path / "attempts" / "current.json").write_text(json.dumps({"token": "job-1.a", "order": "dance"}))
    assert fence.current(tmp_path) == Current("job-1.a", "end")  # of a later release: better not
    (tmp_path / "attempts" / "job-1.a.json").write_text(json.dumps({"beat": 4, "code": 0}))
    assert fence.sign_of(tmp_path, "job-1.a") == Sign(4, 0)


def train(run_dir: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "ml.train", str(run_dir), *arguments], stderr=subprocess.PIPE)


def test_a_trainer_gives_way_to_the_next_attempt(tmp_path: Path) -> None:
    """The first is in the midst of training when the second is named; the second ends the job, the first nothing."""
    run = RunDir(tmp_path)
    spec = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "budget": {"epochs": 1_000_000}}
    run.spec_file.write_text(json.dumps({**spec, "checkpoint_seconds": 0.1}))
    fence.allow(tmp_path, "job-1.a")
    first = train(tmp_path, "--attempt", "job-1.a")
    deadline = time.monotonic() + HANG
    while not any(event["kind"] == "progress" for _, event in run.events()):
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.05)
    fence.allow(tmp_path, "job-2.b")
    _, said = first.communicate(timeout=HANG)
    assert first.returncode == SUPERSEDED
    assert b"another attempt has taken its place" in said
    before = run.events_file.read_bytes()
    run.stop_file.touch()
    second = train(tmp_path, "--attempt", "job-2.b")
    second.communicate(timeout=HANG)
    assert second.returncode == ExitCode.CANCELLED
    assert fence.sign_of(tmp_path, "job-2.b") == Sign(fence.sign_of(tmp_path, "job-2.b").beat, ExitCode.CANCELLED)  # type: ignore[union-attr]
    after = [event for _, event in run.events(len(before))]
    assert after[-1] == {"kind": "status", "time": after[-1]["time"], "status": "cancelled"}


def test_a_trainer_by_hand_ends_whatever_attempt_there_was(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.spec_file.write_text(json.dumps({"family": "none", "dataset": "lecture"}))
    fence.allow(tmp_path, "job-1.a")
    by_hand = train(tmp_path)
    by_hand.communicate(timeout=HANG)
    assert by_hand.returncode == ExitCode.FAILED
    assert fence.current(tmp_path) == Current("job-1.a", "end")


def test_a_trainer_that_is_not_the_one_does_not_begin(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.spec_file.write_text(json.dumps({"family": "none", "dataset": "lecture"}))
    fence.allow(tmp_path, "job-2.b")
    late = train(tmp_path, "--attempt", "job-1.a")
    late.communicate(timeout=HANG)
    assert late.returncode == SUPERSEDED
    assert not run.events_file.exists()
