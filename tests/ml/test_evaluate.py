"""A run that measures a version: what it says, how it ends, and that it leaves no version behind."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ml.evaluate
from ml import attempt, files
from ml.data import builtin
from ml.run import ExitCode, RunDir
from tests.ml import tiny
from tests.ml.tiny import Finished


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def measuring(folder: Path, version: Path, source: Path, family: str = "lstm", **spec: Any) -> RunDir:
    folder.mkdir(parents=True)
    value = {"family": family, "dataset": str(source), "preset": "evaluate", "evaluate": True, "base": str(version)}
    files.write_json(folder / "spec.json", {**value, "base_reference": "mine@3", **spec})
    return RunDir(folder)


def metrics(run: RunDir) -> dict[str, Any]:
    (done,) = tiny.events(run, "done")
    figures: dict[str, Any] = done["metrics"]
    return figures


def failure(run: RunDir) -> str:
    (failed,) = tiny.events(run, "failed")
    assert failed["code"] == "cannot_evaluate"
    message: str = failed["message"]
    assert "mine@3" in message
    return message


def test_a_text_model_on_its_own_test_part(finished: Callable[[str], Finished], tmp_path: Path) -> None:
    done = finished("lstm")
    run = measuring(tmp_path / "run", done.run.artifact, done.source)
    assert attempt.train(run) == ExitCode.DONE
    found, card = metrics(run), done.manifest.metrics
    assert found["split"] == "test"
    assert found["perplexity"] == pytest.approx(card["perplexity"], rel=0.02)
    assert found["tokens"] == found["scored_tokens"]
    assert not run.artifact.exists()
    assert [event["status"] for event in tiny.events(run, "status")] == ["running"]
    (told,) = tiny.events(run, "metrics")
    assert told["perplexity"] == found["perplexity"]


def test_parts_of_it_on_another_text(
    finished: Callable[[str], Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ml.evaluate, "PROGRESS_SECONDS", 0.0)
    other = tiny.write_text(tmp_path / "other", ["I love the dog .", "zx zx the king ."] * 40)
    found = {}
    for name, config in {"all": {}, "lstm": {"parts": ["lstm"]}}.items():
        run = measuring(tmp_path / name, finished("lstm").run.artifact, other, config=config)
        assert attempt.train(run) == ExitCode.DONE
        found[name] = metrics(run)
        progress = [event["progress"] for event in tiny.events(run, "progress")]
        assert progress == sorted(progress)
        assert progress[-1] == 1.0
        assert tiny.events(run, "progress")[-1]["eta_seconds"] == 0.0
    assert found["all"]["split"] == "all"
    assert found["all"]["unknown_share"] == pytest.approx(2 / 8)
    assert found["all"]["perplexity"] < found["lstm"]["perplexity"]  # the cache has soon seen it all


def test_pictures_on_their_own_test_part(finished: Callable[[str], Finished], tmp_path: Path) -> None:
    done = finished("gan")
    run = measuring(tmp_path / "run", done.run.artifact, done.source, "gan")
    assert attempt.train(run) == ExitCode.DONE
    found, card = metrics(run), done.manifest.metrics
    assert found.keys() == card.keys()
    for name in ("frechet_distance", "frechet_floor", "d_real", "d_fake", "precision", "recall"):
        assert found[name] == pytest.approx(card[name], abs=1e-5), name
    assert found["split"] == "test"
    assert not run.artifact.exists()
    before = metrics(run)
    run.events_file.unlink()
    assert attempt.train(run) == ExitCode.DONE  # a second attempt: the prepared pictures are there
    assert metrics(run) == before


def test_pictures_on_others(finished: Callable[[str], Finished], tmp_path: Path) -> None:
    others = tiny.write_images(tmp_path / "others", 255 - tiny.discs(80, size=20, channels=3))
    run = measuring(tmp_path / "run", finished("gan").run.artifact, others, "gan")
    assert attempt.train(run) == ExitCode.DONE
    assert metrics(run)["frechet_distance"] > finished("gan").manifest.metrics["frechet_distance"]


def test_what_cannot_be_measured_is_said(finished: Callable[[str], Finished], tmp_path: Path) -> None:
    text, pictures = finished("lstm"), finished("gan")
    unknown = tiny.write_text(tmp_path / "unknown", ["zx qy"])
    few = tiny.write_images(tmp_path / "few", tiny.discs(10))
    damaged = tmp_path / "damaged"
    shutil.copytree(text.run.artifact, damaged)
    (damaged / "next_word.onnx").write_bytes(b"half")
    cases = [
        (text.run.artifact, pictures.source, "was trained on texts, and"),
        (text.run.artifact, unknown, "knows no word"),
        (pictures.run.artifact, few, "too few"),
        (damaged, text.source, "next_word.onnx has"),
        (tmp_path / "nowhere", text.source, "manifest.json is missing"),
    ]
    for number, (version, source, said) in enumerate(cases):
        run = measuring(tmp_path / f"run{number}", version, source)
        assert attempt.train(run) == ExitCode.FAILED
        assert said in failure(run)


def test_classes_that_it_does_not_draw(finished: Callable[[str], Finished], tmp_path: Path) -> None:
    version = tmp_path / "version"
    shutil.copytree(finished("gan").run.artifact, version)
    manifest = finished("gan").manifest.model_copy(deep=True)
    manifest.serving["labels"] = manifest.dataset.classes = ["cat", "dog"]
    files.write_json(version / "manifest.json", manifest.model_dump())
    run = measuring(tmp_path / "run", version, finished("gan").source, "gan")
    assert attempt.train(run) == ExitCode.FAILED
    assert "it draws the classes cat, dog, and these pictures have none" in failure(run)


def test_a_recipe_of_another_inkling(finished: Callable[[str], Finished], tmp_path: Path) -> None:
    version = tmp_path / "version"
    shutil.copytree(finished("gan").run.artifact, version)
    manifest = finished("gan").manifest.model_copy(deep=True)
    manifest.config["channels"] = "many"
    files.write_json(version / "manifest.json", manifest.model_dump())
    run = measuring(tmp_path / "run", version, finished("gan").source, "gan")
    assert attempt.train(run) == ExitCode.FAILED
    assert "its recipe is none that this Inkling knows" in failure(run)


def test_it_can_be_cancelled(finished: Callable[[str], Finished], tmp_path: Path) -> None:
    run = measuring(tmp_path / "run", finished("lstm").run.artifact, finished("lstm").source)
    run.stop_file.touch()
    assert attempt.train(run) == ExitCode.CANCELLED
    assert tiny.events(run, "done") == []


def test_a_signal_ends_it_at_once(
    finished: Callable[[str], Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to save; the next attempt begins anew."""
    run = measuring(tmp_path / "run", finished("lstm").run.artifact, finished("lstm").source)
    with monkeypatch.context() as patched:
        patched.setattr(ml.evaluate, "_text", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as ended:
            attempt.train(run)
    assert ended.value.code == ExitCode.INTERRUPTED
    assert attempt.train(run) == ExitCode.DONE


def test_asked_to_end_before_it_began(
    finished: Callable[[str], Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = measuring(tmp_path / "run", finished("lstm").run.artifact, finished("lstm").source, dataset="lecture")
    monkeypatch.setattr(builtin, "ensure", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert attempt.train(run) == ExitCode.INTERRUPTED
    assert list(run.events()) == []
