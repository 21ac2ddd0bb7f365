"""benchmarks.training: what its figures mean, and how it judges."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.training import __main__ as training
from benchmarks.training import contestants, graphics
from benchmarks.training.__main__ import ROWS, Row, chosen, flops_a_word, of_the_core, ratio, table


def rate(cpu: float, wall: float = 1.0) -> dict[str, float]:
    return {"cpu": cpu, "wall": wall, "updates": 5.0}


def test_a_ratio_is_taken_within_a_round() -> None:
    row = ratio("a", "ours", "theirs", "says", 1.5)
    assert row.needs == ("ours", "theirs")
    row.values = [row.value({"ours": rate(30), "theirs": rate(theirs)}) for theirs in (10, 15, 30)]
    assert (row.values, row.median, row.verdict) == ([3, 2, 1], 2, "PASS")
    row.values = [1.4]
    assert row.verdict == "FAIL"
    assert ratio("a", "ours", "theirs", "says", None, "wall").value({"ours": rate(1, 6), "theirs": rate(1, 3)}) == 2


def test_shares_are_at_most() -> None:
    share = Row("a", "says", ("shares-lstm",), lambda told: told["shares-lstm"]["checkpoints"], 0.05, True)
    for value, verdict in ((0.04, "PASS"), (0.06, "FAIL")):
        share.values = [share.value({"shares-lstm": {"checkpoints": value}})]
        assert share.verdict == verdict
    named = {row.name: row for row in ROWS}
    told = {
        "shares-gan": {"evaluations": 0.02, "checkpoints": 0.03},
        "shares-lstm": {"evaluations": 0.4, "checkpoints": 0.5},
    }
    values = [named[name].value(told) for name in ("gan-evaluations", "gan-checkpoints", "lstm-evaluations")]
    assert values == [0.02, 0.03, 0.4]  # each row has its own


def test_arithmetic_of_an_update_is_that_of_its_matrices() -> None:
    # A cell of one unit on one number: four gates of two weights; a projection; one negative of one number.
    assert flops_a_word(1, 1, 1) == 6 * (4 * 2 + 1 + 1)
    assert of_the_core({"lstm": rate(1e9 / flops_a_word()), "products": {"float32": 2.0}}) == pytest.approx(0.5)


def test_names_are_unique_and_their_beginnings_choose() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
    assert [row.name for row in chosen("gan-28")] == ["gan-28"]
    assert {row.name for row in chosen("lstm")} == {name for name in names if name.startswith("lstm")}
    assert [row.name for row in chosen("gpu-lstm-b")] == ["gpu-lstm-busy"]
    with pytest.raises(ValueError, match="no row nothing; there are lstm"):
        chosen("gan-28,nothing")


def test_a_card_has_rows_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, names in ((None, {"lstm", "gan"}), ("/usr/bin/nvidia-smi", {"lstm", "gan", "gpu"})):
        monkeypatch.setattr("shutil.which", lambda _, found=found: found)
        assert {row.name.partition("-")[0] for row in chosen(None)} == names


def test_of_a_card_its_mean_of_the_busiest_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"  # two cards, the first with nothing to do
    tool.write_text("#!/bin/sh\nwhile :; do printf '0, 0\\n1, 80\\n'; sleep .2; done\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    given = {}

    def ours(kind: str, dataset: str, folder: Path, **options: object) -> Callable[[], int]:
        given.update(kind=kind, dataset=dataset, **options)
        return lambda: time.sleep(0.01) or 32  # type: ignore[func-returns-value]

    monkeypatch.setattr(contestants, "ours", ours)
    told = graphics.rate("gan-64", 1.0, tmp_path, device="cpu")
    assert given == {"kind": "gan", "dataset": "faces", "size": 64, "device": torch.device("cpu")}
    assert told["busy"] == pytest.approx(0.8)
    assert 0 < told["wall"] <= 32 * told["updates"]  # of a second at least


def test_the_table_has_bounds_and_spread() -> None:
    row = ratio("a", "ours", "theirs", "ours / theirs", 1.5)
    row.values = [1.0, 2.0, 4.0]
    assert table([row]).splitlines()[-1] == "| a | ours / theirs | ≥ 1.5 | 2 | 1 to 4 | PASS |"
    rounds = [{"ours": rate(cpu), "products": {"float32": 1.0}} for cpu in (1_000, 3_000, 2_000)]
    assert training.rates_table(rounds).splitlines()[2:] == ["| ours | 2,000 | 1 | 5 |"]


@pytest.mark.parametrize(("theirs", "arguments", "code"), [(10, [], 0), (100, [], 1), (100, ["--quick"], 0)])
def test_a_missed_bound_ends_it_with_an_error(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    theirs: float,
    arguments: list[str],
    code: int,
) -> None:
    monkeypatch.setattr(training, "ROWS", [ratio("a", "ours", "theirs", "says", 1.5)])
    asked: list[str] = []

    def measured(name: str, seconds: float, folder: Path) -> dict[str, float]:
        asked.append(name)
        return rate(theirs if name == "theirs" else 20)

    monkeypatch.setattr(training, "measured", measured)
    monkeypatch.setattr("sys.argv", ["training", "--rounds", "2", "--folder", str(tmp_path), *arguments])
    assert training.main() == code
    assert asked == ["ours", "theirs"] * (1 if arguments else 2)
    assert ("PASS" if theirs == 10 else "FAIL") in capsys.readouterr().out
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["rows"][0]["verdict"] == ("PASS" if theirs == 10 else "FAIL")
