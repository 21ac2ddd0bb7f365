"""The command line, as a user types it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.flow.postgres import both_databases
from tests.flow.service import HANG, Service, wait_for


def inkling(data_dir: Path, *arguments: str, database_url: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "INKLING_DATA_DIR": str(data_dir),
        "INKLING_DATABASE_URL": database_url,
        "COLUMNS": "200",
    }
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG)


def test_train_shows_where_the_model_is_and_how_to_ask_it(tmp_path: Path) -> None:
    done = inkling(tmp_path, "train", "lstm", "--dataset", "lecture", "--preset", "lecture", "--seed", "5")
    assert done.returncode == 0, done
    assert "lecture@1 answers now" in done.stdout
    assert "loss" in done.stdout
    assert str(tmp_path / "models" / "lecture" / "1") in done.stdout
    assert "/predict-next-word" in done.stdout
    listed = inkling(tmp_path, "models")
    assert "lecture" in listed.stdout
    card = inkling(tmp_path, "models", "lecture")
    assert "perplexity" in card.stdout
    assert inkling(tmp_path, "models", "lecture", "--activate", "1").returncode == 0
    missing = inkling(tmp_path, "models", "lecture", "--activate", "9")
    assert missing.returncode == 1
    assert "it has 1" in missing.stderr


def test_train_takes_config_values_and_draws_pictures(tmp_path: Path) -> None:
    values = ["--set", "channels=[8,4]", "--set", "latent=8", "--set", "objective=minimax", "--set", "batch_size=8"]
    done = inkling(tmp_path, "train", "gan", "-d", "mnist", "--steps", "10", "--model", "tiny", *values)
    assert done.returncode == 0, done
    assert "tiny@1 answers now" in done.stdout
    assert "/generate" in done.stdout
    card = json.loads((tmp_path / "models" / "tiny" / "1" / "manifest.json").read_text())
    assert card["config"]["objective"] == "minimax"
    assert card["steps"] == 10


@both_databases
def test_train_with_a_running_service_is_followed(service: Service, database_url: str) -> None:
    arguments = ("train", "lstm", "-d", "lecture", "--preset", "lecture")
    done = inkling(service.data_dir, *arguments, database_url=database_url)
    assert done.returncode == 0, done
    assert service.next_word("i hate", "lecture") == "milk"


def test_a_training_that_cannot_be(tmp_path: Path) -> None:
    failed = inkling(tmp_path, "train", "lstm", "-d", "kjv", "--preset", "lecture")
    assert failed.returncode == 1
    assert "use the preset 'auto'" in failed.stdout


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    for arguments, word in [
        (("train", "lstm", "-d", "nope"), "there is no data set"),
        (("train", "lstm", "-d", "kjv", "--set", "hidden"), "name=value"),
        (("train", "lstm", "-d", "kjv", "--set", "hidden=0"), "/config/hidden"),
        (("train", "lstm", "-d", "kjv", "--activate", "x"), "if_better"),
        (("train", "lstm", "-d", "kjv", "--minutes", "0"), "minutes"),
        (("models", "nope"), "there is no model"),
        (("datasets", "--prepare", "nope"), "there is no data set"),
    ]:
        done = inkling(tmp_path, *arguments)
        assert done.returncode == 1, done
        assert word in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_an_interrupted_training_waits_and_goes_on(tmp_path: Path) -> None:
    environment = {**os.environ, "INKLING_DATA_DIR": str(tmp_path), "INKLING_CHECKPOINT_SECONDS": "1"}
    command = [sys.executable, "-m", "app", "train", "gan", "-d", "mnist", "--minutes", "30"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, process_group=0)
    wait_for("a checkpoint", lambda: list(tmp_path.glob("runs/*/checkpoints/step-*[1-9].safetensors")))
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=HANG)
    assert process.returncode == 130
    assert "python -m app worker --job" in output
    assert inkling(tmp_path, "worker", "--check").stdout.strip() == "up"  # it was, seconds ago


def test_datasets_and_help(tmp_path: Path) -> None:
    assert "CC BY-SA 3.0" in inkling(tmp_path, "datasets").stdout
    assert "6 lines" in inkling(tmp_path, "datasets", "--prepare", "lecture").stdout
    assert inkling(tmp_path, "worker", "--check").returncode == 1
    for command in ("serve", "worker", "train", "models", "datasets"):
        assert command in inkling(tmp_path, "--help").stdout
        assert inkling(tmp_path, command, "--help").returncode == 0
