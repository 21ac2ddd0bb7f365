"""The README: its commands run and print what it says; its tables are the code's."""

import re
import subprocess
from pathlib import Path

import httpx
from PIL import Image

from app.core.config import Settings
from app.main import create_app
from tests.flow.service import Service, wait_for

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def steps() -> list[tuple[str, str]]:
    """Every `$ command` of the README, with the output printed under it; `…` stands for anything."""
    found: list[tuple[str, str]] = []
    for line in "".join(blocks("console")).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def test_the_commands_print_what_the_readme_says(tmp_path: Path) -> None:
    service = Service(tmp_path / "data")
    service.start()
    try:
        for command, expected in steps():
            base = str(service.client.base_url).rstrip("/")
            done = subprocess.run(command.replace(HERE, base), shell=True, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, command
            pattern = ".*?".join(re.escape(part) for part in expected.split("…"))
            assert re.fullmatch(pattern, done.stdout), f"{command}\nprinted  {done.stdout}\nnot      {expected}"
            if "lecture" in command and "/train" in command:  # "it takes a few seconds"
                wait_for("the training", lambda: service.client.get("/jobs").json()["jobs"][0]["status"] == "succeeded")
        with Image.open(tmp_path / "digits.png") as digits, Image.open(tmp_path / "faces.png") as faces:
            assert digits.size == (4 * 122, 4 * 122)
            assert faces.mode == "RGB"
        queued = service.client.get("/jobs").json()["jobs"][0]
        service.client.post(f"/jobs/{queued['id']}/cancel")
        service.until(queued["id"], "cancelled")
    finally:
        service.close()


def test_every_setting_is_in_the_table() -> None:
    rows = dict(re.findall(r"\| `(INKLING_\w+)` \| (.+?) \|", README))
    assert set(rows) == {f"INKLING_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        shown = rows[f"INKLING_{name.upper()}"].strip("`")
        if isinstance(field.default, bool):
            assert shown == str(field.default).lower(), name
        elif isinstance(field.default, int | float):
            assert float(shown) == field.default, name
        elif field.default and isinstance(field.default, list):
            assert shown == ",".join(field.default), name
        elif field.default:
            assert shown == str(field.default), name


async def test_every_route_is_in_the_table(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    for path, methods in paths.items():
        shown = path.replace("{job_id}", "{id}")
        for method in methods:
            assert f"`{method.upper()} {shown}`" in README, f"{method.upper()} {shown}"


def test_the_page_snippet_has_eight_lines() -> None:
    snippet = next(block for block in blocks("html") if "fetch" in block)
    script = snippet.split('<script type="module">\n')[1].split("</script>")[0]
    assert len(script.splitlines()) <= 8


def test_both_commands_are_named() -> None:
    assert "make run" in README
    assert "make test" in README
    assert "git, make and Python 3.11" in README
