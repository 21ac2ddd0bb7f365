"""Users' pictures become a data set: decoded one by one, squared, reduced to one size, broken ones left out.

Holds one picture at a time, whatever their number. Must not know: HTTP, or what learns from the pictures.
"""

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from ml import files
from ml.data import archive, kinds, preview, store
from ml.data.archive import Entry, open_zip
from ml.data.intake import Limits, Rejected, Report, Source, shown
from ml.data.store import DatasetInfo, Labels, Pictures

MOST_SIDE = 128  # of the pictures kept, in pixels
MOST_BYTES = 64 * 1024**2  # of one picture's file
ENOUGH = 50  # pictures that a GAN needs
SPLITS = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation"}
)  # folders that are no classes

# What people mean as pictures, by the ends of their names: one that cannot be read counts as broken.
SUFFIXES = (
    ".png",
    ".apng",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".gif",
    ".svg",
    ".heic",
    ".heif",
    ".avif",
    ".bmp",
)


class Unusable(Exception):
    """Why one picture is left out, in words."""


class Foreign(Unusable):
    """It is of a kind that does not work; `missed` when there may be pictures in it all the same."""

    def __init__(self, head: bytes) -> None:
        kind = kinds.other(head)
        super().__init__(f"is {kind or 'no picture'}; {kinds.WHAT_WORKS}")
        self.missed = kind is not None and kinds.holds_pictures(kind)


class TooManyPixels(Unusable):
    """Its header says so; it was not decoded."""


@dataclass(frozen=True)
class Loose:
    """A picture that was sent by itself; the counterpart of an archive's Entry."""

    source: Source
    folders: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def path(self) -> str:
        return self.name

    def open(self) -> IO[bytes]:
        return self.source.path.open("rb")


@dataclass(frozen=True)
class Kept:
    """A picture that was read: where it lies in the spool, at its own size."""

    folders: tuple[str, ...]
    name: str
    offset: int
    shape: tuple[int, int, int]  # (H, W, C)
    digest: bytes

    @property
    def order(self) -> tuple[tuple[str, ...], str, bytes]:
        """The place among the others: not that in the upload or the ZIP, which are chance."""
        return self.folders, self.name, self.digest


def take_pictures(
    sources: Sequence[Source], into: Path, info: DatasetInfo, limits: Limits
) -> tuple[DatasetInfo, Report]:
    """Make the data-set folder `into` of pictures, loose or in ZIPs whose folders are the classes, with a preview.png.

    All become uint8 (N, S, S, C): S is the longest side there is, MOST_SIDE at most; C is 1 only when every one is
    gray. The same pictures in another order give the same `sha256`. Raises Rejected, and leaves nothing behind.
    """
    report = Report()
    with files.new_folder(into) as new:
        spool = new / "spool"
        with spool.open("w+b") as file, pillow_within(limits), ExitStack() as opened:
            found = list(_find(sources, limits, opened))
            if len(found) > limits.files:
                raise Rejected(f"there are more than {limits.files:,} files; send fewer at once", "too_large")
            reader = _Reader(file, limits, report)
            for item in found:
                reader.take(item)
            reader.explain()
            report.check(limits, "picture")
            labelled, classes, numbers = _classes(reader.kept, limits, report)
            kept, labels = _in_order(labelled, numbers)
            _note(kept, report)
            done = _write(new, file, kept, info.model_copy(update={"classes": classes}), labels)
        spool.unlink()
        preview.write_grid(new)
    return done, report


def _find(sources: Sequence[Source], limits: Limits, opened: ExitStack) -> Iterator[Entry | Loose]:
    for source in sorted(sources, key=lambda source: source.name):
        with source.path.open("rb") as file:
            head = file.read(kinds.HEAD)
        if kinds.is_zip(head):
            yield from opened.enter_context(open_zip(source, limits))
        else:
            yield Loose(source)


@contextmanager
def pillow_within(limits: Limits) -> Iterator[None]:
    """Have Pillow refuse, from a picture's header, what has too many pixels; its other warnings say nothing."""
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limits.picture_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = most


class _Reader:
    """Reads pictures into the spool, each at its own size but MOST_SIDE at most."""

    def __init__(self, spool: IO[bytes], limits: Limits, report: Report) -> None:
        self.spool, self.limits, self.report = spool, limits, report
        self.kept: list[Kept] = []
        self.unpacked = 0  # bytes
        self.foreign: list[str] = []  # what is none of the kinds that work, and why
        self.others: list[str] = []  # names of what was not meant as a picture

    def take(self, item: Entry | Loose) -> None:
        """Keep one picture, or say why not. Raises Rejected when too much was unpacked."""
        name = shown(item.path)
        try:
            pixels = small(self._bytes(item), self.limits)
        except Unusable as error:
            if isinstance(error, Foreign):
                self.foreign.append(f"{name} {error}")
                if isinstance(item, Entry) and not error.missed and not item.name.lower().endswith(SUFFIXES):
                    self.others.append(name)
                    return
            self.report.skip(name, str(error))
            return
        blob = pixels.tobytes()
        offset = self.spool.tell()
        self.spool.write(blob)
        shape = (pixels.shape[0], pixels.shape[1], pixels.shape[2])
        self.kept.append(Kept(item.folders, item.name, offset, shape, hashlib.sha256(blob).digest()))
        self.report.kept += 1

    def _bytes(self, item: Entry | Loose) -> bytes:
        """The picture's file. Raises Unusable; what is no picture is not read beyond its head."""
        most = min(MOST_BYTES, self.limits.unpacked_bytes - self.unpacked)
        try:
            with item.open() as file:
                head = file.read(kinds.HEAD)
                if not head:
                    raise Unusable("is empty")
                if kinds.picture(head) is None:
                    raise Foreign(head)
                data = head + file.read(most - len(head) + 1)  # counted as it comes: a header may say anything
        except archive.BROKEN as error:
            raise Unusable("is damaged inside the ZIP") from error
        self.unpacked += len(data)
        if self.unpacked > self.limits.unpacked_bytes:
            raise archive.unpacks_to_too_much(self.limits)
        if len(data) > MOST_BYTES:
            raise Unusable(f"is larger than {MOST_BYTES // 1024**2} MiB")
        return data

    def explain(self) -> None:
        """Say what was passed over. Raises Rejected when nothing at all was a picture of a kind that works."""
        if not self.kept and self.report.skipped_count <= len(self.foreign) - len(self.others):
            first = f": {self.foreign[0]}" if self.foreign else f"; {kinds.WHAT_WORKS}"
            raise Rejected(f"there is no picture in it{first}", "unsupported_media_type")
        if self.others:
            files_are = "1 file is" if len(self.others) == 1 else f"{len(self.others):,} files are"
            more = ", …" if len(self.others) > 3 else ""
            self.report.notes.append(f"{files_are} no picture and not used: {', '.join(self.others[:3])}{more}.")


def small(data: bytes, limits: Limits) -> Pictures:
    """A picture's file as pixels: uint8 (H, W, C), no side over MOST_SIDE, upright, transparency on white.

    C is 1 when it is gray. Raises Unusable.
    """
    try:
        with Image.open(BytesIO(data), formats=kinds.PICTURES) as image:
            image.draft(None, (2 * MOST_SIDE, 2 * MOST_SIDE))  # a JPEG is decoded at a fraction of its size
            return _pixels(_reduced(image))
    except MemoryError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise TooManyPixels(f"has more than {limits.picture_pixels:,} pixels") from error
    except Exception as error:  # Pillow raises whatever a decoder met: OSError, SyntaxError, struct.error, …
        raise Unusable("is damaged: it cannot be decoded to its end") from error


def _reduced(image: Image.Image) -> Image.Image:
    """Upright, 8 bits a channel, reduced to MOST_SIDE: L, RGB or RGBA."""
    image.load()
    about = image.info
    if image.mode.startswith("I"):  # 16 bits of gray; convert() would clip them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    else:
        mode = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
        image = image if image.mode == mode else image.convert(mode)  # which copies, always
    longest = max(image.size)
    if longest > MOST_SIDE:
        size = [max(1, round(side * MOST_SIDE / longest)) for side in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling.BOX, reducing_gap=4.0)
    image.info = about  # its EXIF block, which says how the camera was held
    with suppress(Exception):  # a broken one is no reason to leave a picture out
        image = ImageOps.exif_transpose(image)
    return image


def _pixels(image: Image.Image) -> Pictures:
    """L, RGB or RGBA as uint8 (H, W, C), laid on white, with one channel when it is gray in content."""
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        return pixels[:, :, None]
    gray = (pixels[:, :, :1] == pixels[:, :, 1:]).all()
    return pixels[:, :, :1] if gray else pixels


def _classes(kept: list[Kept], limits: Limits, report: Report) -> tuple[list[Kept], list[str], list[int] | None]:
    """The pictures, the names of the classes their folders are, and each picture's class (None: there are none).

    Leading folders that all share, or that only part the set (train, test), are no classes. A few pictures beside the
    class folders are left out; when they are many, the folders are taken to mean nothing.
    """
    folders = [picture.folders for picture in kept]
    while all(folders) and (len({f[0] for f in folders}) == 1 or {f[0].lower() for f in folders} <= SPLITS):
        folders = [f[1:] for f in folders]
    outside = sum(not f for f in folders)
    if outside == len(folders):
        return kept, [], None
    if outside > limits.skipped * len(folders):
        report.notes.append(
            f"{outside:,} of {len(folders):,} pictures lie in no folder, so folders were not taken as classes; put "
            "each picture into the folder of its class to get them."
        )
        return kept, [], None
    names = sorted({f[0] for f in folders if f})
    number = {name: i for i, name in enumerate(names)}
    for picture, f in zip(kept, folders, strict=True):
        if not f:
            report.skip(shown("/".join((*picture.folders, picture.name))), "lies in no class's folder")
    report.kept -= outside
    inside = [(picture, number[f[0]]) for picture, f in zip(kept, folders, strict=True) if f]
    return [picture for picture, _ in inside], [shown(name) for name in names], [label for _, label in inside]


def _in_order(kept: list[Kept], labels: list[int] | None) -> tuple[list[Kept], Labels | None]:
    if len(kept) < 2:
        raise Rejected(f"one picture is no data set; send at least 2, and {ENOUGH} to train a GAN on them")
    order = sorted(range(len(kept)), key=lambda i: kept[i].order)
    sorted_labels = None if labels is None else np.array([labels[i] for i in order], dtype=np.int64)
    return [kept[i] for i in order], sorted_labels


def _note(kept: list[Kept], report: Report) -> None:
    if len(kept) < ENOUGH:
        report.notes.append(f"A GAN needs at least {ENOUGH} pictures; there are {len(kept)}.")
    twice = sum(count - 1 for count in Counter(picture.digest for picture in kept).values())
    if twice:
        report.notes.append(f"{twice:,} of {len(kept):,} pictures are copies of others.")
    if any(max(picture.shape) == MOST_SIDE for picture in kept):
        report.notes.append(f"Larger pictures were reduced to {MOST_SIDE} pixels.")
    if any(picture.shape[0] != picture.shape[1] for picture in kept):
        report.notes.append("Pictures that are not square were given margins in the colour of their corner.")


def _write(new: Path, spool: IO[bytes], kept: list[Kept], info: DatasetInfo, labels: Labels | None) -> DatasetInfo:
    side = max(max(picture.shape[:2]) for picture in kept)
    channels = max(picture.shape[2] for picture in kept)
    return store.fill_images(
        new,
        info,
        (_square(spool, picture, side, channels) for picture in kept),
        (len(kept), side, side, channels),
        labels,
    )


def _square(spool: IO[bytes], picture: Kept, side: int, channels: int) -> Pictures:
    """A picture of the spool as (side, side, channels): scaled to fit, the margins in the colour of its corner."""
    height, width, has = picture.shape
    spool.seek(picture.offset)
    pixels = np.frombuffer(spool.read(height * width * has), dtype=np.uint8).reshape(picture.shape)
    image = Image.fromarray(pixels[:, :, 0] if has == 1 else pixels)
    longest = max(height, width)
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    image = image.resize(size, Image.Resampling.BICUBIC) if image.size != size else image
    corner = pixels[0, 0].tolist()
    square = Image.new(image.mode, (side, side), corner[0] if has == 1 else tuple(corner))
    square.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    out = np.asarray(square).reshape(side, side, has)
    return np.repeat(out, 3, axis=2) if channels > has else out
