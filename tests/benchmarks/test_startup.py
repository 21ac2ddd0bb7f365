"""benchmarks.startup: what is imported, and how it judges."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import startup
from benchmarks.startup import Row


def test_the_app_imports_no_torch_and_no_alembic() -> None:
    seconds, packages = startup.imported()  # ends with a word where torch is imported
    assert 0 < seconds < 20
    assert packages["fastapi"] > 0
    assert not {"torch", "onnx", "alembic", "mako", "scipy", "matplotlib"} & packages.keys()


def test_a_row_is_judged_by_its_median() -> None:
    assert Row("a", 1.5, [1.0, 1.4, 9.0]).passed
    assert not Row("a", 1.5, [1.0, 1.6, 9.0]).passed
    assert Row("a", None, [99.0]).passed


@pytest.mark.parametrize(("seconds", "code"), [(1.0, 0), (2.0, 1)])
def test_a_missed_bound_ends_it_with_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: float, code: int
) -> None:
    monkeypatch.setattr(startup, "start", lambda folder, command, question, variables: (seconds, 9.0))
    monkeypatch.setattr(startup, "frameworks", lambda python: 0.5)
    into = tmp_path / "startup.json"
    monkeypatch.setattr("sys.argv", ["startup", "--rounds", "2", "--only", "serve", "--json", str(into)])
    with pytest.raises(SystemExit) as ended:
        startup.main()
    assert ended.value.code == code
    rows = json.loads(into.read_text())["rows"]
    assert [row["median"] for row in rows] == [0.5, *[seconds, 9.0] * 2]
    assert rows[1]["note"] == f"{2 * seconds:.2f} of the frameworks' alone"


def test_the_frameworks_are_what_the_app_imports() -> None:
    assert 0 < startup.frameworks() < 20
    _, packages = startup.imported()
    assert {name.partition(".")[0] for name in startup.FRAMEWORKS.split(", ")} <= packages.keys()


def test_another_python_has_a_folder_of_its_own_and_the_packages_of_this_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "python"
    other.symlink_to(Path(sys.executable).resolve())  # beside no virtual environment: it finds nothing by itself
    seen = []

    def start(folder: Path, command: list[str], question: object, variables: dict[str, str]) -> tuple[float, float]:
        seen.append((folder.name, command[0], bool(variables)))
        return 1.0 if command[0] == str(other) else 2.0, 9.0

    monkeypatch.setattr(startup, "start", start)
    rows = list(startup.measure(1, ["serve"], str(other)))
    assert seen == [("data", sys.executable, False)] * 2 + [("other", str(other), True)] * 2
    assert [row.value for row in rows if "CPU to" in row.name] == [2.0, 2.0, 1.0, 1.0]
    assert 0 < rows[5].value < 20  # the frameworks, really imported by it


def test_what_a_command_spends_is_that_of_its_own_processes_too() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(3 * 10**7))'])"
    assert 0.1 < startup.spent(["-c", code]) < 60


def test_a_command_that_crashes_is_no_measurement() -> None:
    with pytest.raises(SystemExit, match="crashed"):
        startup.spent(["-c", "1 / 0"])
