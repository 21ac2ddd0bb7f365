"""A version as one file, to be taken to another Inkling: a ZIP, stored, with one folder NAME@VERSION in it.

Taking in a file that somebody sent happens in a process of its own, under limits, so that what is in it can neither
take the service along nor grow its memory:

    python -m ml.bundle unpack FILE FOLDER [--most-bytes N]    unpack into a new folder, then check it
    python -m ml.bundle check FOLDER                           verify, inspect, load, answer once

Both print one line of JSON: {"name": …} or {"code": …, "message": …}. Nothing in it is ever unpickled.
Must not know: HTTP, databases, torch.
"""

import argparse
import errno
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ml import artifact, graph
from ml.artifact import MANIFEST, ArtifactError, Manifest
from ml.data.numbers import DRAWS
from ml.families.catalog import IMPLEMENTATIONS
from ml.serve.density import Density
from ml.serve.images import Sampler, to_pixels
from ml.serve.text import NextWord, Query
from ml.serve.warm import open_warm

ROOT = Path(__file__).resolve().parents[1]
CHUNK = 1024 * 1024
MOST_FILES = 64
MOST_SECONDS = 120  # for unpacking, hashing, loading and one answer
MOST_PIXELS = 50_000_000
ANSWER_SIDE = 2048  # pixels of a drawn picture
# A version's files, and how large each kind may be; None: bounded by the whole alone. The pattern lets no name through
# that leads out of a folder, is absolute, or differs from another by case alone.
FILE_KINDS: dict[str, int | None] = {
    r"manifest\.json": 1024**2,
    r"vocabulary\.json": 256 * 1024**2,
    r"weights\.safetensors": None,
    r"ngram\.safetensors": None,
    r"sources\.zlib": 16 * 1024**2,
    r"[a-z0-9_]{1,64}\.onnx": graph.MOST_BYTES,
    r"samples/[a-z0-9_-]{1,64}\.png": 16 * 1024**2,
    r"samples/[a-z0-9_-]{1,64}\.txt": 64 * 1024,
}
ENTRY = re.compile(rf"(?:([a-z0-9][a-z0-9._-]{{0,63}})@[0-9]{{1,10}}/)?({'|'.join(FILE_KINDS)})")

Refusal = Literal["too_large", "unsupported_media_type", "invalid"]


class BundleError(ArtifactError):
    """A file that is not taken in; `code` says which kind of error it is (413, 415 or 422 over HTTP)."""

    def __init__(self, message: str, code: Refusal = "invalid") -> None:
        super().__init__(message)
        self.code: Refusal = code


# -- out ---------------------------------------------------------------------------------------------------------------


def pack(folder: Path, reference: str) -> Generator[bytes]:
    """The version `reference` ("name@3") in `folder` as a file, chunk by chunk; equal versions give equal bytes.

    Everything is verified and opened before this returns: a version deleted meanwhile is still packed to its end.
    Raises ArtifactError.
    """
    manifest = artifact.verify(folder)
    opened = ExitStack()
    try:
        sources = [(name, opened.enter_context((folder / name).open("rb"))) for name in (MANIFEST, *manifest.files)]
    except OSError as error:
        opened.close()
        raise ArtifactError(f"the version cannot be read: {error}") from error

    def chunks() -> Generator[bytes]:
        out = _Sink()
        with opened, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as bundle:  # type: ignore[call-overload]
            for name, source in sources:
                info = zipfile.ZipInfo(f"{reference}/{name}")  # of 1980, as every time here
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                info.file_size = os.fstat(source.fileno()).st_size  # a large one then gets large headers
                with bundle.open(info, "w") as entry:
                    while chunk := source.read(CHUNK):
                        entry.write(chunk)
                        yield out.take()
        yield out.take()

    return chunks()


class _Sink:
    """Where a ZIP is written when nobody can go back in it."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        out = b"".join(self._waiting)
        self._waiting.clear()
        return out


# -- in ----------------------------------------------------------------------------------------------------------------


def unpack(file: Path, folder: Path, most_bytes: int) -> str | None:
    """Unpack into a new folder; returns the name under which it was exported, None where there is no folder in it.

    Raises BundleError; what was unpacked by then is the caller's to remove. Nothing is checked but the packing.
    """
    try:
        with zipfile.ZipFile(file) as bundle:
            entries, name = _entries(bundle.infolist(), most_bytes)
            (folder / "samples").mkdir(parents=True)
            for path, info in entries.items():
                with bundle.open(info) as source, (folder / path).open("xb") as target:
                    shutil.copyfileobj(source, target, CHUNK)
    except zipfile.BadZipFile as error:
        if zipfile.is_zipfile(file):
            raise BundleError(f"the file is damaged: {error}") from error
        raise BundleError("the file is no ZIP, as exporting a version makes it", "unsupported_media_type") from error
    except (EOFError, NotImplementedError, OverflowError, ValueError, struct.error, zlib.error) as error:
        raise BundleError(f"the file is damaged: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise BundleError("the file is damaged: an entry lies outside of it") from error  # where none can be sought
    return name


def _entries(infos: list[zipfile.ZipInfo], most_bytes: int) -> tuple[dict[str, zipfile.ZipInfo], str | None]:
    """The entries by their path in the version's folder. Raises BundleError for what no export holds."""
    found: dict[str, zipfile.ZipInfo] = {}
    tops: set[str | None] = set()
    if len(infos) > MOST_FILES:
        raise BundleError(f"there are more than {MOST_FILES} files in it", "too_large")
    if sum(info.file_size for info in infos) > most_bytes:
        raise BundleError(f"it holds more than {most_bytes:,} bytes", "too_large")
    for info in infos:
        if info.is_dir() and info.file_size == 0:
            continue
        shown = repr(info.orig_filename[:100])
        match = ENTRY.fullmatch(info.orig_filename)
        if match is None:
            raise BundleError(f"{shown} is no file of a version; send what exporting one gave")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or info.flag_bits & 1:
            raise BundleError(f"{shown} is a link, encrypted, or no plain file")
        name, path = match.groups()
        if path in found:
            raise BundleError(f"{shown} is in it twice")
        most = next(most for pattern, most in FILE_KINDS.items() if re.fullmatch(pattern, path))
        if most is not None and info.file_size > most:
            raise BundleError(f"{shown} is larger than {most:,} bytes", "too_large")
        found[path] = info
        tops.add(name)
    if MANIFEST not in found:
        raise BundleError(f"there is no {MANIFEST} in it; send what exporting a version gave")
    if len(tops) != 1:
        raise BundleError("there is more than one version in it; send them one by one")
    return found, tops.pop()


def check(folder: Path) -> Manifest:
    """Verify, inspect, load and try a version that somebody sent. Raises ArtifactError.

    Run it in a process of its own: see `check_apart`.
    """
    manifest = artifact.verify(folder)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    extra = sorted(there - set(manifest.files) - {MANIFEST})
    if extra:
        raise BundleError(f"{extra[0][:100]!r} is not named in {MANIFEST}")
    try:  # what JSON lets through and answers cannot say: NaN, infinity, half a character
        json.dumps(manifest.model_dump(mode="json"), allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise BundleError(f"{MANIFEST} holds a value that cannot be shown: {error}") from error
    if any(abs(number) >= 2**63 for number in _integers(manifest.model_dump())):
        raise BundleError(f"{MANIFEST} holds a number that is too large to be stored")
    if not any((s.name, s.modality) == (manifest.family, manifest.modality) for s in IMPLEMENTATIONS.values()):
        raise BundleError(f"this Inkling knows no family {manifest.family[:40]!r} of {manifest.modality} models")
    metric = manifest.metrics.get(manifest.score.metric)
    if metric is not None and not isinstance(metric, int | float):
        raise BundleError(f"the metric {manifest.score.metric[:40]!r} is not a number")
    for name in manifest.files:
        if name.endswith(".onnx"):
            graph.inspect(folder / name)
        elif name.startswith("samples/"):
            _check_sample(folder / name)
    predictor = open_warm(folder, manifest)
    try:
        if isinstance(predictor, NextWord):
            _try_words(predictor)
        elif isinstance(predictor, Density):
            _try_numbers(predictor)
        else:
            _try_pictures(predictor)
    except BundleError:
        raise
    except Exception as error:  # whatever a strange model makes the code do, it is not taken in
        raise BundleError(f"it does not answer: {error}") from error
    return manifest


def _integers(value: Any) -> Generator[int]:
    """All integers in a value of JSON."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _integers(inner)
    elif isinstance(value, int):
        yield value


def _check_sample(path: Path) -> None:
    try:
        if path.suffix == ".txt":
            path.read_text(encoding="utf-8")
            return
        with Image.open(path, formats=["PNG"]) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise BundleError(f"{path.name} has more than {MOST_PIXELS:,} pixels")
            picture.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BundleError(f"the sample {path.name} is damaged: {error}") from error


def _try_words(predictor: NextWord) -> None:
    vocabulary = predictor.vocabulary
    words, size = [*vocabulary.words, *vocabulary.shown], len(vocabulary)
    if not size or len(vocabulary.shown) != size or not all(isinstance(word, str) for word in words):
        raise BundleError("the vocabulary is no list of words with a form to show for each")
    "".join(words).encode()  # half a character cannot be shown
    for special in (vocabulary.unk, vocabulary.eos):
        if special is not None and special not in range(size):
            raise BundleError("the vocabulary names a word that it does not hold")
    likely = predictor.probabilities([[], [predictor.start]])
    if likely.shape != (2, size) or not np.isfinite(likely).all():
        raise BundleError("it gives no probability for each word of its vocabulary")
    predictor.answer([Query(vocabulary.shown[0], words=3)])


def _try_numbers(predictor: Density) -> None:
    drawn = predictor.draw(0)
    realness = predictor.realness(drawn)
    if drawn.shape != (DRAWS,) or drawn.dtype != np.float32 or realness.shape != (DRAWS,):
        raise BundleError("it does not draw one number for each that it is given")
    if not np.isfinite(drawn).all() or not np.isfinite(realness).all():
        raise BundleError("what it draws is not finite")


def _try_pictures(predictor: Sampler) -> None:
    picture = predictor.draw(0)
    pixels = to_pixels(picture)
    if len(picture) != 1 or pixels.shape[2] not in (1, 3) or max(pixels.shape) > ANSWER_SIDE:
        raise BundleError(f"it draws no picture of 1 or 3 channels and at most {ANSWER_SIDE} pixels a side")
    if not np.isfinite(picture).all() or not np.isfinite(predictor.realness(picture)):
        raise BundleError("what it draws is not finite")
    if not all(isinstance(label, str) for label in predictor.labels):
        raise BundleError("its labels are no texts")


# -- in a process of its own -------------------------------------------------------------------------------------------


def unpack_apart(file: Path, folder: Path, most_bytes: int) -> str | None:
    """`unpack`, then `check`, in a process of its own. Raises BundleError, or OSError for a full volume."""
    name: str | None = _apart("unpack", str(file), str(folder), "--most-bytes", str(most_bytes))["name"]
    return name


def check_apart(folder: Path) -> None:
    """`check` in a process of its own. Raises BundleError."""
    _apart("check", str(folder))


def _apart(*arguments: str) -> dict[str, Any]:
    # The database's password is none of its business; nor are more threads than one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INKLING_")}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ml.bundle", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=MOST_SECONDS,
            check=False,
        )
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise BundleError(f"it does not load and answer within {MOST_SECONDS} s") from None
    except (IndexError, ValueError):
        raise BundleError("the process that tried to load it ended without a word; it is not taken in") from None
    if "errno" in said:
        raise OSError(said["errno"], os.strerror(said["errno"]))
    if "code" in said:
        raise BundleError(said["message"], said["code"])
    return said


def _limit(size: int) -> None:
    """Bound this process: what a file of `size` bytes needs many times over, and no more."""
    if sys.platform != "win32":
        import resource

        os.nice(10)
        for what, most in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, MOST_SECONDS),
            (resource.RLIMIT_AS, 4 * 1024**3 + 6 * size),
        ):
            resource.setrlimit(what, (most, most))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ml.bundle", description="Check a version that somebody sent.")
    commands = parser.add_subparsers(dest="command", required=True)
    unpacking = commands.add_parser("unpack", help="unpack an exported file into a new folder, then check it")
    unpacking.add_argument("file", type=Path)
    checking = commands.add_parser("check", help="verify, inspect, load, and answer once")
    for command in (unpacking, checking):
        command.add_argument("folder", type=Path)
    unpacking.add_argument("--most-bytes", type=int, default=8 * 1024**3)
    given = parser.parse_args()
    said: dict[str, Any]
    try:
        name = None
        if given.command == "unpack":
            _limit(given.file.stat().st_size)
            name = unpack(given.file, given.folder, given.most_bytes)
        else:
            _limit(sum(path.stat().st_size for path in given.folder.rglob("*")))
        check(given.folder)
        said = {"name": name}
    except ArtifactError as error:
        said = {"code": getattr(error, "code", "invalid"), "message": str(error)}
    except MemoryError:
        said = {"code": "invalid", "message": "loading it takes more memory than its size explains"}
    except OSError as error:
        said = {"errno": error.errno or errno.EIO}
    except Exception as error:  # the last guard: whatever it is, the file is to blame
        said = {"code": "invalid", "message": f"it cannot be read: {error}"}
    print("\n" + json.dumps(said), flush=True)
    raise SystemExit(0 if "name" in said else 1)


if __name__ == "__main__":
    main()
