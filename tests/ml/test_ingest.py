"""`python -m ml.ingest FOLDER`: which files become what, and how it says so."""

import errno
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml import ingest
from ml.data import builtin, preview, store
from ml.data.intake import Report
from ml.ingest import REFUSED
from tests.ml import tiny


def picture(seed: int, format: str = "png") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(out, format)
    return out.getvalue()


def zipped(names: list[str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for i, name in enumerate(names):
            archive.writestr(name, picture(i))
    return out.getvalue()


LINES = b"one line of text\nanother line of text\n"


def uploaded(folder: Path, files: list[tuple[str, bytes]], **more: Any) -> Path:
    """The folder of an upload, as the service leaves it."""
    (folder / "files").mkdir(parents=True)
    listed = []
    for i, (name, data) in enumerate(files):
        (folder / "files" / str(i)).write_bytes(data)
        listed.append({"name": name, "path": f"files/{i}"})
    (folder / "upload.json").write_text(json.dumps({"files": listed, **more}), encoding="utf-8")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The command in this process, which keeps its priority."""
    monkeypatch.setattr(ingest, "_stand_back", lambda: None)
    monkeypatch.setattr(sys, "argv", ["ingest", *map(str, arguments)])
    return ingest.main()


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ml.ingest", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def refusal(folder: Path) -> dict[str, str]:
    assert not (folder / "dataset").exists()
    assert not (folder / "report.json").exists()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    said: dict[str, str] = json.loads((folder / "refused.json").read_bytes())
    return said


def test_a_process_of_its_own_makes_the_data_set_and_a_report(tmp_path: Path) -> None:
    folder = uploaded(tmp_path / "up", [("set.zip", zipped(["cat/1.png", "dog/1.png"]))], info={"licence": "CC0-1.0"})
    process = start(folder, "--parent", os.getpid())
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, "")
    info = store.read_info(folder / "dataset")
    assert (info.name, info.title, info.licence, info.attribution) == ("set", "set", "CC0-1.0", "uploaded")
    assert (info.modality, info.classes) == ("image", ["cat", "dog"])
    assert Report.model_validate_json((folder / "report.json").read_bytes()).kept == 2
    assert not (folder / "refused.json").exists()


def test_a_refusal_is_a_file_and_an_exit_code(tmp_path: Path) -> None:
    folder = uploaded(tmp_path / "up", [("a.zip", zipped(["../1.png", "2.png"]))])
    process = start(folder)
    _, said = process.communicate(timeout=120)
    assert process.returncode == REFUSED
    assert refusal(folder)["code"] == "invalid"
    assert "wants to write outside its folder" in refusal(folder)["message"] in said


def test_it_needs_no_torch() -> None:
    code = "import sys, ml.ingest; print([m for m in ('torch', 'onnx', 'onnxruntime', 'app') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_it_stands_behind_everything_else(tmp_path: Path) -> None:
    code = "import os; from ml.ingest import _stand_back; _stand_back(); print(os.nice(0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "19"


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    folder = uploaded(tmp_path / "up", [("a.txt", LINES)])
    process = start(folder, "--parent", 1)  # which did not start it, as if the one that did had gone
    assert process.wait(timeout=60) == -9
    process.communicate()
    assert not (folder / "dataset").exists()


@pytest.mark.parametrize(
    ("files", "modality", "count"),
    [
        ([("my.txt", LINES)], "text", 2),
        ([("MY.TXT", LINES), ("more.md", b"# head\nand more\n"), ("a.text", b"x y\n")], "text", 5),
        ([("bmw.txt", b"BMW is a car\n")], "text", 1),
        ([("a.txt", LINES), ("none.txt", b"")], "text", 2),
        ([("a.zip", zipped(["1.png", "2.png"]))], "image", 2),
        ([("upload", zipped(["1.png", "2.png"]))], "image", 2),
        ([("a.png", picture(1)), ("b", picture(2)), ("c.txt", picture(3, "gif"))], "image", 3),
        ([("a.zip", zipped(["1.png"])), ("b.jpeg", picture(2, "jpeg"))], "image", 2),
    ],
)
def test_files_are_told_apart_by_name_and_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[tuple[str, bytes]], modality: str, count: int
) -> None:
    folder = uploaded(tmp_path / "up", files)
    assert run(monkeypatch, folder) == 0
    info = store.read_info(folder / "dataset")
    assert info.modality == modality
    assert info.counts["pictures" if modality == "image" else "lines"] == count
    assert info.name == Path(files[0][0]).stem
    assert preview.ensure(folder / "dataset").exists()


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        ([("a.txt", LINES), ("b.png", picture(1))], "invalid", "(a.txt is a text, b.png is not); send them separately"),
        ([("a.zip", zipped(["1.png"])), ("b.md", LINES)], "invalid", "of texts or of pictures, not both"),
        ([("a.pdf", b"%PDF-1.7")], "unsupported_media_type", "a.pdf is a PDF; send texts (.txt, .md), pictures (PNG"),
        ([("a.docx", zipped(["word/1.png"]))], "unsupported_media_type", "a.docx is an office document, or a ZIP"),
        ([("a.txt", zipped(["1.png"]))], "unsupported_media_type", "a.txt is an office document, or a ZIP"),
        ([("a.csv", b"1,2\n")], "unsupported_media_type", "a.csv is of a kind that is not taken; send texts"),
        ([("a", b"\x7fELF\0\0")], "unsupported_media_type", "a is of a kind that is not taken"),
        ([("a\n\x1b.exe", b"MZ")], "unsupported_media_type", "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.exe"),
        ([("a.heic", b"\0\0\0\x18ftypheic")], "unsupported_media_type", "a.heic is a HEIC picture; pictures must be"),
        ([("a.txt", LINES), ("b.pdf", b"%PDF-1.7")], "unsupported_media_type", "b.pdf is a PDF"),
        ([("a.txt", b"")], "invalid", "a.txt is empty"),
        ([("a.png", b"")], "invalid", "a.png: is empty"),
        ([("a.zip", b"")], "invalid", "a.zip is empty; send texts"),
        ([("a.zip", b"Rar!\x1a\x07")], "invalid", "a.zip is not a ZIP that can be read"),
        ([("a.zip", zipped(["1.png", "2.png"])[:-9])], "invalid", "a.zip is not a ZIP that can be read"),
        ([("a", b"")], "invalid", "a is empty; send texts"),
        ([("a.png", picture(1))], "invalid", "one picture is no data set"),
    ],
)
def test_anything_else_is_refused_and_told_what_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[tuple[str, bytes]], code: str, said: str
) -> None:
    folder = uploaded(tmp_path / "up", files)
    assert run(monkeypatch, folder) == REFUSED
    assert refusal(folder)["code"] == code
    assert said in refusal(folder)["message"]


def test_the_limits_of_the_upload_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = uploaded(tmp_path / "up", [("a.zip", zipped(["1.png", "2.png", "3.png"]))], limits={"files": 2})
    assert run(monkeypatch, folder) == REFUSED
    assert refusal(folder)["code"] == "too_large"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "volume_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "volume_full"),
    ],
)
def test_a_full_volume_or_memory_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    folder = uploaded(tmp_path / "up", [("a.zip", zipped(["1.png", "2.png"]))])
    monkeypatch.setattr(store, "fill_images", fail)
    assert run(monkeypatch, folder) == REFUSED
    assert refusal(folder)["code"] == code


def test_another_error_of_the_volume_is_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = uploaded(tmp_path / "up", [("a.txt", LINES)])
    (folder / "files" / "0").unlink()
    assert run(monkeypatch, folder) == 1
    assert "No such file" in capsys.readouterr().err
    assert not (folder / "refused.json").exists()


# -- built-in data sets ----------------------------------------------------------------------------------------------


def test_a_built_in_data_set_is_made_with_its_preview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--builtin", "lecture", tmp_path / "lecture") == 0
    shown = json.loads((tmp_path / "lecture" / "preview.json").read_bytes())
    assert shown["lines"] == list(builtin.LECTURE_SENTENCES)
    assert shown["common_words"][0] == {"word": "i", "count": 3}


def test_a_folder_of_an_older_release_gets_its_preview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "faces"
    before = store.read_info(tiny.write_images(folder, tiny.discs(50)))
    assert run(monkeypatch, "--builtin", "faces", folder) == 0
    assert store.read_info(folder) == before
    with Image.open(folder / "preview.png") as sheet:
        assert sheet.size[0] == sheet.size[1] == 6 * (before.counts["width"] + 2) + 2


def test_why_a_built_in_one_cannot_be_made_is_printed_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(builtin.importlib.util, "find_spec", lambda _: None)
    assert run(monkeypatch, "--builtin", "kjv", tmp_path / "kjv") == 1
    assert "requirements-data.txt" in capsys.readouterr().err
    refused = tmp_path / "refused.json"
    assert run(monkeypatch, "--builtin", "kjv", tmp_path / "kjv", "--refused", refused) == REFUSED
    assert "requirements-data.txt" in json.loads(refused.read_bytes())["message"]
    assert not (tmp_path / "kjv").exists()
