"""A run's directory: what to train, and what happened."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ml.run import Budget, ExitCode, RunDir, RunSpec


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def told(run: RunDir, offset: int = 0) -> list[dict[str, Any]]:
    return [event for _, event in run.events(offset)]


def test_three_fields_are_a_spec(run: RunDir) -> None:
    (run.path / "spec.json").write_text('{"family": "lstm", "dataset": "lecture", "preset": "lecture"}')
    spec = run.read_spec()
    assert (spec.family, spec.dataset, spec.preset, spec.seed, spec.config) == ("lstm", "lecture", "lecture", 0, {})
    assert not spec.budget.is_set


def test_a_missing_spec_is_an_oserror(run: RunDir) -> None:
    with pytest.raises(FileNotFoundError):
        run.read_spec()


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"dataset": "lecture"}, "family"),
        ({"family": "lstm"}, "dataset"),
        ({"family": "lstm", "dataset": "x", "sead": 1}, "sead"),
        ({"family": "lstm", "dataset": "x", "seed": -1}, "seed"),
        ({"family": "lstm", "dataset": "x", "seed": 2**32}, "seed"),
        ({"family": "lstm", "dataset": "x", "threads": 0}, "threads"),
        ({"family": "lstm", "dataset": "x", "checkpoint_seconds": 0}, "checkpoint_seconds"),
        ({"family": "lstm", "dataset": "x", "budget": {"hours": 1}}, "hours"),
    ],
)
def test_a_bad_spec_names_the_field(run: RunDir, spec: dict[str, Any], field: str) -> None:
    (run.path / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(ValidationError, match=field):
        run.read_spec()


def test_every_seed_of_32_bits_is_a_spec() -> None:
    assert RunSpec(family="lstm", dataset="x", seed=2**32 - 1).seed == 2**32 - 1


@pytest.mark.parametrize("budget", [{"minutes": 0.09}, {"minutes": 10_081}, {"epochs": 0}, {"steps": 0}, {"steps": -5}])
def test_a_budget_out_of_bounds_is_refused(budget: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Budget.model_validate(budget)


@pytest.mark.parametrize("budget", [{"minutes": 0.1}, {"epochs": 1}, {"steps": 1}])
def test_one_limit_sets_a_budget(budget: dict[str, float]) -> None:
    assert Budget.model_validate(budget).is_set
    assert not Budget().is_set


def test_exit_codes_are_what_the_worker_expects() -> None:
    assert [int(code) for code in ExitCode] == [0, 1, 75, 76, 77]


def test_events_come_back_in_order_with_kind_and_time(run: RunDir) -> None:
    run.emit("status", status="running")
    run.emit("sample", text="커피 😀\nand a new line")
    first, second = told(run)
    assert (first["kind"], first["status"]) == ("status", "running")
    assert second["text"] == "커피 😀\nand a new line"
    assert first["time"] <= second["time"]


def test_no_log_yet_means_no_events(run: RunDir) -> None:
    assert told(run) == []


def test_an_offset_goes_on_behind_an_event(run: RunDir) -> None:
    for number in range(3):
        run.emit("message", number=number)
    offsets = [offset for offset, _ in run.events()]
    assert [event["number"] for event in told(run, offsets[0])] == [1, 2]
    assert told(run, offsets[2]) == []
    assert offsets[2] == run.events_file.stat().st_size


def test_a_line_still_being_written_waits(run: RunDir) -> None:
    run.emit("message", number=0)
    whole = run.events_file.read_bytes()
    run.events_file.write_bytes(whole + whole[:-1])
    ((offset, _),) = run.events()
    assert offset == len(whole)
    run.events_file.write_bytes(whole + whole)
    assert len(told(run, offset)) == 1


def test_an_empty_line_is_no_event(run: RunDir) -> None:
    run.emit("message", number=0)
    with run.events_file.open("ab") as file:
        file.write(b"\n")
    run.emit("message", number=1)
    assert [event["number"] for event in told(run)] == [0, 1]


def test_half_a_line_of_a_full_volume_spoils_no_later_event(run: RunDir) -> None:
    run.emit("message", number=0)
    with run.events_file.open("ab") as file:
        file.write(b'{"kind": "mess')  # what fitted on the volume before it was full
    run.emit("message", number=1)
    assert [event["number"] for event in told(run)] == [0, 1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_never_written(run: RunDir, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.emit("metrics", loss=value)
    assert told(run) == []
