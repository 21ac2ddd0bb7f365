"""What the images install is what the tests ran with, each archive with its hash, and nothing is forgotten."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORGOTTEN = "run scripts/lock.sh"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return {
        canonical(name): version
        for name, version in re.findall(r"^([\w.-]+)(?:\[\w+\])?==([^\s;\\]+)", text, re.MULTILINE)
    }


def wanted(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return {canonical(re.match(r"[\w.-]+", line)[0]) for line in lines}  # type: ignore[index]


@pytest.mark.parametrize("file", ["api.txt", "train.txt", "data.txt", "ray.txt"])
def test_every_archive_has_a_hash(file: str) -> None:
    text = (ROOT / "requirements" / file).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.match(r"[\w.-]+==\S+( ; .*?)?( +--hash=sha256:[0-9a-f]{64})+$", line), line[:80]


def test_nothing_that_is_asked_for_is_forgotten() -> None:
    assert wanted("tracing", "cluster") <= pins("requirements/api.txt").keys(), FORGOTTEN
    assert wanted("tracing", "cluster", "train") - {"torch"} <= pins("requirements/train.txt").keys(), FORGOTTEN
    assert pins("requirements/data.txt") == pins("requirements-data.txt"), FORGOTTEN
    assert pins("requirements-ray.txt").items() <= pins("requirements/ray.txt").items(), FORGOTTEN
    assert pins("requirements/api.txt").items() <= pins("requirements/train.txt").items(), FORGOTTEN


@pytest.mark.parametrize("file", ["api.txt", "train.txt"])
def test_the_versions_are_those_of_the_tests(file: str) -> None:
    tested = pins("constraints.txt")
    locked = pins(f"requirements/{file}")
    other = {name: version for name, version in locked.items() if name in tested and tested[name] != version}
    assert not other, FORGOTTEN


def test_what_answers_brings_nothing_that_trains() -> None:
    assert not {"torch", "onnx", "sympy", "networkx"} & pins("requirements/api.txt").keys()
