"""benchmarks.serving: how it asks, how it weighs a server, and how it judges."""

import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.serving import __main__ as serving
from benchmarks.serving import load, models, rows, server, texts
from benchmarks.serving.contestants import CONTESTANTS, NOOP, RIVALS, NotInstalled, python_of
from benchmarks.serving.load import NoLoad
from benchmarks.serving.models import Models
from benchmarks.serving.rows import ROWS, Row, judge
from benchmarks.serving.server import DidNotRun, Server
from ml.data import text as words
from ml.serve.text import NextWord, Query
from tests.ml import tiny

WORDS = [f"w{i}" for i in range(50)]


# -- judging ---------------------------------------------------------------------------------------------------------


def run(cpu_us: dict[str, float], **more: Any) -> dict[str, Any]:
    """A pass in which each load took so many microseconds a request."""
    answered = {"per_second": 100.0, "p50": 1.0, "p99": 2.0, "errors": 0}
    return {"loads": {name: {"cpu_us": us, **answered} for name, us in cpu_us.items()}, "servers": {}, **more}


def one(row: Row, *runs: dict[str, Any], **features: bool) -> rows.Outcome:
    return judge([row], runs, features)[0]


def row(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def test_a_ratio_says_how_many_we_answer_while_the_rival_answers_one() -> None:
    ran = run({"ours medium 64": 100, "litserve medium 64": 250, "ours lecture 64": 50, "noop lecture 64": 40})
    assert one(row("litserve"), ran).median == 2.5
    assert one(row("litserve"), ran).verdict == "PASS"
    assert one(row("lecture"), ran).median == 0.8
    assert one(row("lecture"), ran).verdict == "FAIL"
    assert one(row("tutorial"), ran).verdict == "not measured"


def test_the_median_of_the_runs_counts() -> None:
    ran = [run({"ours medium 64": 100, "litserve medium 64": us}) for us in (200, 250, 900)]
    found = one(row("litserve"), *ran)
    assert (found.median, found.values, found.verdict) == (2.5, (2.0, 2.5, 9.0), "PASS")
    assert one(row("litserve"), *ran[:1]).verdict == "FAIL"


def test_some_figures_are_at_most() -> None:
    servers = {"ours": {"pss": 100, "cold_cpu": 2.0}, "litserve": {"pss": 300, "cold_cpu": 3.0}}
    ran = {**run({"ours medium 64": 1, "litserve medium 64": 1}), "servers": servers}
    assert one(row("memory"), ran).verdict == "PASS"
    assert one(row("cold"), ran).verdict == "FAIL"
    assert one(row("p99"), ran).median == 1.0
    assert one(row("p99"), ran).verdict == "FAIL"


def test_what_is_not_there_fails_where_it_must_be() -> None:
    ran = run({"ours apart 16": 300, "ours typing 16": 100})
    assert one(row("typing"), ran, **{"state cache": True}).verdict == "PASS"
    missing = one(row("typing"), ran)
    assert (missing.verdict, missing.fails) == ("not there", True)
    assert (one(row("int8"), ran).verdict, one(row("int8"), ran).fails) == ("not there", False)


def test_every_bound_of_the_issue_has_a_row() -> None:
    bounds = {row.name: (row.bound, row.at_least) for row in ROWS if row.bound is not None}
    assert bounds == {
        "lecture": (0.9, True),
        "tutorial": (6, True),
        "litserve": (2.4, True),
        "bentoml": (2.5, True),
        "mlserver": (2, True),
        "typing": (2.5, True),
        "int8": (4, True),
        "p99": (0.7, False),
        "memory": (0.5, False),
        "cold": (0.5, False),
    }


def test_tables_are_markdown_with_all_there_is() -> None:
    ran = run({"ours medium 64": 123.4, "litserve medium 64": 1234.5})
    ran["servers"] = {"ours": {"pss": 150, "pss_largest": 150, "processes": 1, "cold_cpu": 1.25, "cold_wall": 1.5}}
    said = rows.table(judge(ROWS, [ran], {}))
    assert len(said.splitlines()) == 2 + len(ROWS)
    assert "| medium, fp32 / LitServe batched | ≥ 2.4 (stretch 3) | 10 | 10 to 10 | PASS |" in said
    assert "| ours medium 64 | 100 | 123 | 1 | 2 | 0 |" in rows.figures([ran])
    assert "| ours | 150 | 150 | 1 | 1.25 | 1.5 |" in rows.servers([ran])
    assert len({line.count("|") for line in said.splitlines()}) == 1


@pytest.mark.parametrize(("us", "code"), [(250.0, 0), (200.0, 1)])
def test_a_missed_bound_ends_it_with_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], us: float, code: int
) -> None:
    ran = {**run({"ours medium 64": 100, "litserve medium 64": us}), "load_average": 0.5}
    ran["loads"]["ours medium 64"]["p99"] = 1.0
    made = {"machine": "m", "wrk": "w", "when": "t", "features": {"state cache": True}, "runs": [ran], "notes": {}}
    monkeypatch.setattr(serving, "measure", lambda options, names: made)
    monkeypatch.setattr("sys.argv", ["serving", "--folder", str(tmp_path)])
    assert serving.main() == code
    assert json.loads((tmp_path / "result.json").read_text())["runs"] == [ran]
    monkeypatch.setattr("sys.argv", ["serving", "--folder", str(tmp_path), "--report"])
    assert serving.main() == code
    first, second = capsys.readouterr().out.split("load average")[1:]
    assert first.split("\n", 1)[1].rsplit("\n", 1)[0] == second.split("\n", 1)[1].rsplit("\n", 1)[0]


def test_who_did_not_run_is_said() -> None:
    result = {"machine": "", "wrk": "", "when": "", "features": {}, "runs": [{**run({}), "load_average": 1.0}]}
    said, _ = serving.report({**result, "notes": {"bentoml": "pip could not install it\nfor a reason"}})
    assert said.endswith("- bentoml: not run: pip could not install it")


# -- asking ----------------------------------------------------------------------------------------------------------


def test_random_texts_are_their_own() -> None:
    made = texts.random_texts(WORDS, 200, 1)
    assert {len(text.split()) for text in made} == {texts.LENGTH}
    assert all(text.endswith(" ") for text in made)
    assert len({text.split()[0] for text in made}) > 40
    assert made == texts.random_texts(WORDS, 200, 1) != texts.random_texts(WORDS, 200, 2)


def test_a_typist_adds_a_word_or_a_letter() -> None:
    typed = texts.typed_texts(WORDS, 300, 1, 0)
    letters = whole = 0
    for before, after in pairwise(typed):
        added = after.removeprefix(before)
        if after != before + added:  # the next text
            assert len(before.split()) == texts.TYPED
            assert len(after.split()) == 1
        elif len(added) == 1:
            letters += 1
        else:
            assert added.strip() in WORDS
            whole += 1
    assert letters > whole > 30


def test_apart_is_the_same_work_with_no_beginning_in_common() -> None:
    together, apart = (texts.typed_texts(WORDS, 300, 4, 0, way) for way in (False, True))
    assert [len(text.split()) for text in together] == [len(text.split()) for text in apart]
    assert [text.split(" ")[1:] for text in together] == [text.split(" ")[1:] for text in apart]
    assert sum(a.split()[0] == b.split()[0] for a, b in zip(together, apart, strict=True)) < 30


def test_typists_take_turns() -> None:
    typed = texts.typed_texts(WORDS, 80, 4, 0)
    for typist in range(4):
        own = typed[typist::4]
        assert all(after.startswith(before) for before, after in pairwise(own[:10]))


def test_what_wrk_says_is_read_and_an_end_without_it_is_told() -> None:
    said = 'Running\nRESULT {"requests": 10, "seconds": 1.5, "p50": 2.0, "p99": 3.0, "errors": 1}\n'
    assert load.parse(said) == load.Answered(10, 1.5, 2.0, 3.0, 1)
    with pytest.raises(NoLoad, match="unable to connect"):
        load.parse("unable to connect")


def test_without_wrk_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load.shutil, "which", lambda name: None)
    with pytest.raises(NoLoad, match="apt install wrk"):
        load.ensure_wrk()


# -- servers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing(tmp_path: Path) -> Models:
    """For servers that need no model."""
    return Models(tmp_path, tmp_path, {models.LECTURE: ["i", "like", "dogs"], models.MEDIUM: WORDS})


def test_a_server_is_started_asked_weighed_and_stopped(nothing: Models) -> None:
    with Server(NOOP, Path(sys.executable), nothing, None) as noop:
        assert noop.found("i like ")[0] == ("coffee", pytest.approx(0.1234, abs=1e-3))
        assert 0 < noop.cold.cpu < 60
        assert noop.cold.wall > 0
        before = noop.used()
        for _ in range(50):
            noop.ask(NOOP.body("i like "))
        used = server.difference(before, noop.used())
        assert list(used) == [noop.pid]
        assert 0 <= used[noop.pid] < 5
        assert 10 < server.pss(noop.pid) < 500
        assert server.answering({noop.pid: 1.0, 1: 0.01}) == [noop.pid]
        with pytest.raises(OSError, match="422"):
            noop.ask({"text": 3})
        pid, folder = noop.pid, noop.folder
    assert server._started(pid) is None
    assert not folder.exists()


def test_a_server_that_ends_is_told_with_what_it_said(nothing: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "READY_SECONDS", 30)
    broken = Server(NOOP, Path(sys.executable), nothing, None)
    broken._command = [sys.executable, "-c", "raise SystemExit('no model here')"]
    with pytest.raises(DidNotRun, match="no model here"):
        broken.__enter__()
    assert not broken.folder.exists()


def test_a_process_left_behind_is_ended(nothing: Models) -> None:
    left = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])"
    code = f"{left}; import runpy; runpy.run_path({str(RIVALS / 'noop.py')!r}, run_name='__main__')"
    parent = Server(NOOP, Path(sys.executable), nothing, None)
    parent._command = [sys.executable, "-c", code]
    with parent:
        below = [pid for pid in server.tree(parent.pid) if pid != parent.pid]
        assert len(below) == 1
    deadline = time.monotonic() + 20
    while server._started(below[0]) is not None and not _is_dead(below[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server._started(below[0]) is None or _is_dead(below[0])


def _is_dead(pid: int) -> bool:
    """Ended, although whoever inherited it has not asked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def test_another_answer_than_the_first_is_found_out(nothing: Models) -> None:
    bench = serving.Bench(nothing, nothing.data_dir, 1, (1,), False)

    class Says:
        contestant = CONTESTANTS["litserve"]

        def __init__(self, value: float) -> None:
            self.value = value

        def found(self, text: str) -> list[tuple[str, float]]:
            return [("a", self.value), ("b", 0.1)]

    bench._same_answers(Says(0.5))  # type: ignore[arg-type]
    bench._same_answers(Says(0.500001))  # type: ignore[arg-type]
    with pytest.raises(DidNotRun, match="was answered first"):
        bench._same_answers(Says(0.5005))  # type: ignore[arg-type]


def test_the_rivals_network_answers_as_ours(tmp_path: Path) -> None:
    source = tiny.write_dataset(tmp_path / "text", "text")
    spec = tiny.new_run(tmp_path / "run", "lstm", config={"layers": 1, "by_line": False}, budget={"steps": 20})
    version = tiny.finish(spec, source).run.artifact
    models._for_rivals(version, tmp_path / "rival")
    code = (
        "import json, sys; from network import Predictor;"
        "print(json.dumps(Predictor().predict(json.loads(sys.argv[1]))))"
    )
    asked = [
        "like the ",
        "queen ",
        "zebra love the dog ",
        "praise the dogs . love the ",
    ]  # words shown without capitals
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(asked)],
        env={**os.environ, "PYTHONPATH": str(RIVALS), "MODEL": str(tmp_path / "rival")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    ours = NextWord.open(version).answer([Query(text, parts=["lstm"]) for text in asked])
    for mine, theirs in zip(ours, json.loads(done.stdout), strict=True):
        # Ours are words, with the capitals that belong there; the benchmark's own text has no marks and no capitals.
        found = [p for p in theirs["predictions"] if words.is_word(p["word"])]
        assert len(found) >= 3
        same = mine.predictions[: len(found)]
        np.testing.assert_allclose([p.probability for p in same], [p["probability"] for p in found], 1e-4)
        assert [p.word.lower() for p in same] == [p["word"].lower() for p in found]


def test_an_environment_is_made_once_and_quick_makes_none(tmp_path: Path) -> None:
    litserve = CONTESTANTS["litserve"]
    with pytest.raises(NotInstalled, match="--quick makes none"):
        python_of(litserve, tmp_path, install=False)
    made = tmp_path / "litserve"
    made.mkdir()
    (made / "installed.json").write_text(json.dumps(list(litserve.packages)))
    assert python_of(litserve, tmp_path, install=False) == made / "bin" / "python"
    assert python_of(NOOP, tmp_path, install=False) == Path(sys.executable)


def test_the_generated_text_says_every_word_and_has_pairs() -> None:
    words = models.invented(300)
    assert len(set(words)) == 300
    lines = models.generated(words, 4_000)
    assert set(" ".join(lines).split()) == set(words)
    assert max(len(line.split()) for line in lines) == 12
