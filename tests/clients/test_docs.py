"""docs/clients.md: the Python examples run one after the other, against the real service, and print what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs" / "clients.md"


def examples() -> list[tuple[str, str]]:
    """Each block of Python, with the output printed under it; `…` stands for anything."""
    part = DOCS.read_text(encoding="utf-8").split("\n## Python\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", part, re.DOTALL)


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_python_examples_print_what_they_say(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    names: dict[str, Any] = {}
    try:
        for code, expected in examples():
            exec(compile(code.replace("http://127.0.0.1:8000", url), str(DOCS), "exec"), names)
            printed = squeezed(capsys.readouterr().out)
            pattern = ".*?".join(re.escape(part) for part in squeezed(expected).split("…"))
            assert re.fullmatch(pattern, printed), f"{code}\nprinted  {printed}\nnot      {expected}"
    finally:
        names["inkling"].close()
    assert len(examples()) == 8
    assert {"seven.png", "grid.png", "walk.webp"} <= {path.name for path in tmp_path.iterdir()}
