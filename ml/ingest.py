"""Make a data set of a user's files: `python -m ml.ingest FOLDER`, a process of its own, whatever the files do to it.

FOLDER/upload.json says which files: {"files": [{"name": "my.txt", "path": "0"}], "info": {"title": "Mine"},
"limits": {}}; a path is seen from FOLDER. Then FOLDER/dataset/ and FOLDER/report.json are there and the exit code is 0,
or FOLDER/refused.json says {"code", "message"} and it is 65. `--builtin NAME FOLDER` makes a built-in data set at
FOLDER with its preview. `--picture` reads the one picture of upload.json into FOLDER/picture.npy. No torch here.
"""

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field

from ml import files
from ml.data import builtin, kinds, preview
from ml.data.intake import Limits, Rejected, Report, Source, shown
from ml.data.pictures import SUFFIXES as PICTURES
from ml.data.pictures import take_pictures
from ml.data.single import read_picture
from ml.data.store import DatasetError, DatasetInfo, Modality
from ml.data.texts import take_texts
from ml.process import die_with

REFUSED = 65
TEXTS = (".txt", ".text", ".md", ".markdown")
WHAT_WORKS = "send texts (.txt, .md), pictures (PNG, JPEG, WebP, GIF), or a ZIP of pictures"
VOLUME_FULL = (errno.ENOSPC, errno.EDQUOT)

Take = Callable[[Sequence[Source], Path, DatasetInfo, Limits], tuple[DatasetInfo, Report]]
TAKE: dict[Modality, Take] = {"text": take_texts, "image": take_pictures}


class File(BaseModel):
    """One file as it came."""

    name: str
    path: Path


class Upload(BaseModel):
    """upload.json. `info` is what is said of the data set, as far as something is."""

    files: list[File] = Field(min_length=1)
    info: dict[str, str] = {}
    limits: Limits = Limits()


def modality_of(source: Source) -> Modality:
    """What a file is to become, by its name and its first bytes. Raises Rejected for what it cannot be."""
    with source.path.open("rb") as file:
        head = file.read(kinds.HEAD)
    name, suffix = shown(source.name), Path(source.name).suffix.lower()
    if kinds.picture(head) is not None:
        return "image"
    if suffix in TEXTS and not kinds.is_zip(head):
        return "text"
    if suffix in PICTURES or (kinds.is_zip(head) and suffix in (".zip", "")):
        return "image"
    if not head:
        raise Rejected(f"{name} is empty; {WHAT_WORKS}")
    if suffix == ".zip":
        raise Rejected(f"{name} is not a ZIP that can be read; make it again and send it whole")
    kind = "an office document, or a ZIP under another name" if kinds.is_zip(head) else kinds.other(head)
    raise Rejected(f"{name} is {kind or 'of a kind that is not taken'}; {WHAT_WORKS}", "unsupported_media_type")


def ingest(folder: Path) -> Report:
    """Make FOLDER/dataset of the files in upload.json, and say in report.json how. Raises Rejected, OSError."""
    upload = Upload.model_validate_json((folder / "upload.json").read_bytes())
    sources = [Source(file.name, folder / file.path) for file in upload.files]
    found: dict[Modality, Source] = {modality_of(source): source for source in sources}
    if len(found) > 1:
        text, image = shown(found["text"].name), shown(found["image"].name)
        raise Rejected(
            f"a data set is of texts or of pictures, not both ({text} is a text, {image} is not); send them separately"
        )
    (modality,) = found
    name = upload.info.get("name") or Path(sources[0].name).stem
    said = {"name": name, "title": name, "licence": "not stated", "attribution": "uploaded"}
    info = DatasetInfo.model_validate(said | upload.info | {"modality": modality})
    _, report = TAKE[modality](sources, folder / "dataset", info, upload.limits)
    files.write_json(folder / "report.json", report.model_dump())
    return report


def read_single(folder: Path) -> None:
    """Make FOLDER/picture.npy, uint8 (H, W, C), of the first file in upload.json. Raises Rejected, OSError."""
    upload = Upload.model_validate_json((folder / "upload.json").read_bytes())
    file = upload.files[0]
    np.save(folder / "picture.npy", read_picture(Source(file.name, folder / file.path), upload.limits))


def make_builtin(name: str, folder: Path) -> None:
    """The built-in data set `name` at `folder`; one made by an older release gets its preview. Raises DatasetError."""
    builtin.ensure(name, folder)
    preview.ensure(folder)


def _stand_back() -> None:
    """Be the last to get the processor, and the first to go when memory runs out."""
    os.nice(19)
    with suppress(OSError):  # no Linux, or not allowed
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _refuse(path: Path | None, code: str, message: str) -> int:
    print(message, file=sys.stderr)
    if path is None:
        return 1
    files.write_json(path, {"code": code, "message": message})
    return REFUSED


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ml.ingest", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the upload's folder, with upload.json in it")
    parser.add_argument("--builtin", choices=builtin.BUILTIN, help="make this built-in data set at FOLDER instead")
    parser.add_argument("--picture", action="store_true", help="read one picture into FOLDER/picture.npy instead")
    parser.add_argument(
        "--refused", type=Path, help="where to say why not; default: refused.json in an upload's folder"
    )
    parser.add_argument("--parent", type=int, help="end when this process ends")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        die_with(arguments.parent)
    _stand_back()
    refused = arguments.refused or (None if arguments.builtin else arguments.folder / "refused.json")
    try:
        if arguments.builtin:
            make_builtin(arguments.builtin, arguments.folder)
        elif arguments.picture:
            read_single(arguments.folder)
        else:
            ingest(arguments.folder)
    except DatasetError as error:
        return _refuse(refused, getattr(error, "code", "invalid"), str(error))
    except MemoryError:
        return _refuse(refused, "out_of_memory", "there is too little memory to read this; send less at once")
    except OSError as error:
        traceback.print_exc()
        if error.errno not in VOLUME_FULL:
            return 1
        return _refuse(refused, "volume_full", "the volume is full; delete data sets or models and send it again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
