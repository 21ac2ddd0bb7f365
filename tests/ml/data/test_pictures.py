"""Users' pictures: what they become, and what is refused without a trace. The bombs are made here."""

import io
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml.data import archive, pictures, store
from ml.data.intake import SHOWN, Limits, Rejected, Report, Source
from ml.data.pictures import MOST_SIDE, take_pictures
from ml.data.store import DatasetInfo
from tests.ml import tiny

Files = Mapping[str, bytes]


def noise(seed: int = 0, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Image.Image:
    """A picture of `size` (width, height) in which no two pixels need be alike."""
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def encoded(image: Image.Image, format: str = "png", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def some(count: int, start: int = 0, **options: Any) -> dict[str, bytes]:
    return {f"{i}.png": encoded(noise(i, **options)) for i in range(start, start + count)}


def zipped(files: Files, **options: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **({"compression": zipfile.ZIP_DEFLATED} | options)) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


class Taker:
    """Puts files where uploads lie, and takes them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.into = folder, folder / "set"

    def __call__(self, sent: Sequence[tuple[str, bytes]], /, **limits: Any) -> tuple[DatasetInfo, Report]:
        (self.folder / "files").mkdir(exist_ok=True)
        sources = []
        for i, (name, data) in enumerate(sent):
            path = self.folder / "files" / str(i)
            path.write_bytes(data)
            sources.append(Source(name, path))
        return take_pictures(sources, self.into, tiny.info("image"), Limits(**limits))

    def refusal(self, sent: Sequence[tuple[str, bytes]], /, **limits: Any) -> Rejected:
        shutil.rmtree(self.into, ignore_errors=True)  # of a set taken before
        with pytest.raises(Rejected) as caught:
            self(sent, **limits)
        assert [path.name for path in self.folder.iterdir()] == ["files"]  # nothing is left behind
        assert "\n" not in str(caught.value)
        return caught.value

    @property
    def images(self) -> np.ndarray:
        return store.read_images(self.into)[0]

    @property
    def labels(self) -> list[int] | None:
        labels = store.read_images(self.into)[1]
        return None if labels is None else labels.tolist()


@pytest.fixture
def take(tmp_path: Path) -> Taker:
    return Taker(tmp_path)


# -- what pictures become --------------------------------------------------------------------------------------------


def test_loose_pictures_become_a_data_set(take: Taker) -> None:
    info, report = take(list(some(3).items()))
    assert info.counts == {"pictures": 3, "height": 12, "width": 12, "channels": 3}
    assert (info.classes, take.labels) == ([], None)
    np.testing.assert_array_equal(take.images, np.stack([np.asarray(noise(i)) for i in range(3)]))
    assert store.read_info(take.into) == info
    assert (report.kept, report.skipped_count) == (3, 0)
    assert sorted(path.name for path in take.into.iterdir()) == ["dataset.json", "images.npy", "preview.png"]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "gif"])
def test_the_four_kinds_are_read_whatever_their_names_say(take: Taker, format: str) -> None:
    image = Image.new("RGB", (16, 16), (200, 40, 40))
    take([("a.txt", encoded(image, format)), ("b", encoded(image, format))])
    assert np.abs(take.images.astype(int) - (200, 40, 40)).max() <= 4


def test_the_hash_is_the_one_of_the_arrays_and_does_not_depend_on_order_or_packing(take: Taker) -> None:
    files = {f"{kind}/{name}": data for kind in ("cat", "dog") for name, data in some(3, start=len(kind)).items()}
    turned = dict(reversed(files.items()))
    packed = [
        zipped(files),
        zipped(turned, compression=zipfile.ZIP_STORED),
        zipped({f"my set/train/{name}": data for name, data in turned.items()}),
    ]
    infos = [take([("a.zip", data)])[0] for data in packed]
    assert infos[0] == infos[1] == infos[2]
    written = store.write_images(take.folder / "other", infos[0], *store.read_images(take.into))
    assert written.sha256 == infos[0].sha256
    loose = [take(files)[0].sha256 for files in (list(some(3).items()), list(reversed(some(3).items())))]
    assert loose[0] == loose[1] != infos[0].sha256


def test_pictures_of_one_name_are_told_apart_by_their_content(take: Taker) -> None:
    files = [("image.png", data) for data in some(4).values()]
    assert take(files)[0].sha256 == take(files[::-1])[0].sha256


def test_the_largest_side_is_the_common_one_and_small_pictures_grow_to_it(take: Taker) -> None:
    info, report = take(
        [("a.png", encoded(Image.new("L", (20, 10), 70))), ("b.png", encoded(Image.new("L", (5, 5), 9)))]
    )
    assert take.images.shape == (2, 20, 20, 1)
    assert (take.images[0] == 70).all()
    assert (take.images[1] == 9).all()
    assert any("not square" in note for note in report.notes)
    assert info.counts["height"] == 20


def test_large_pictures_are_reduced_by_area_and_their_margins_take_their_own_background(take: Taker) -> None:
    wide = Image.new("RGB", (600, 200), (10, 20, 30))
    wide.paste((250, 0, 0), (200, 50, 400, 150))
    _, report = take([("a.png", encoded(wide)), ("b.png", encoded(noise(1)))])
    assert take.images.shape == (2, MOST_SIDE, MOST_SIDE, 3)
    assert take.images[0, 0, 0].tolist() == take.images[0, -1, -1].tolist() == [10, 20, 30]
    assert take.images[0, 64, 64].tolist() == [250, 0, 0]
    assert "Larger pictures were reduced to 128 pixels." in report.notes


def test_a_very_narrow_picture_keeps_a_pixel_of_its_width(take: Taker) -> None:
    take([("a.png", encoded(Image.new("RGB", (3000, 1), (1, 2, 3)))), ("b.png", encoded(noise()))])
    assert (take.images[0] == (1, 2, 3)).all()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_turned_photograph_stands_upright(take: Taker, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # is to be turned right: left becomes top
    files = []
    for width, mode in ((40, "RGB"), (1000, "RGB"), (40, "L"), (40, "I;16"), (1000, "I;16")):
        image = Image.new("L", (width, width // 2), "white")
        image.paste("black", (0, 0, width // 2, width // 2))  # the left half
        if mode == "I;16" and kind == "png":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        elif mode == "RGB":
            image = image.convert("RGB")
        files.append((f"{len(files)}.x", encoded(image, kind, exif=exif)))
    take(files)
    for picture in take.images:
        assert picture[20, 64].max() < 60
        assert picture[108, 64].min() > 200


def test_a_broken_exif_block_does_no_harm(take: Taker) -> None:
    take([("a.jpg", encoded(noise(), "jpeg", exif=b"Exif\0\0MM\0*\0\0\xff\xff")), ("b.png", encoded(noise(1)))])
    assert len(take.images) == 2


def clear(image: Image.Image) -> Image.Image:
    """Its left half made transparent, over a colour that must not shine through."""
    image = image.convert("RGBA")
    image.paste((255, 0, 0, 0), (0, 0, image.width // 2, image.height))
    return image


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda image: encoded(clear(image)), id="rgba"),
        pytest.param(lambda image: encoded(clear(image), "webp", lossless=True), id="webp"),
        pytest.param(lambda image: encoded(clear(image), "gif"), id="gif"),
        pytest.param(lambda image: encoded(clear(image).quantize(8)), id="palette"),
        pytest.param(lambda image: encoded(clear(image).convert("LA")), id="gray-alpha"),
    ],
)
def test_transparency_is_laid_on_white(take: Taker, make: Callable[[Image.Image], bytes]) -> None:
    small, large = Image.new("RGB", (16, 16), (0, 0, 200)), Image.new("RGB", (500, 500), (0, 0, 200))
    take([("a.png", make(small)), ("b.png", make(large))])
    for picture in take.images:
        assert (picture[:, : picture.shape[1] // 2 - 4] == 255).all()
        assert picture[5, -2, 0] < 60


def test_sets_are_gray_only_when_every_picture_is(take: Taker) -> None:
    gray = [
        encoded(noise(1, mode="L")),
        encoded(noise(2, mode="L").convert("RGB")),
        encoded(noise(3, mode="L").convert("1")),
    ]
    take([(f"{i}.png", data) for i, data in enumerate(gray)])
    assert take.images.shape[3] == 1
    np.testing.assert_array_equal(take.images[0, :, :, 0], np.asarray(noise(1, mode="L")))
    take([(f"{i}.png", data) for i, data in enumerate([*gray, encoded(noise(4))])])
    assert take.images.shape[3] == 3
    np.testing.assert_array_equal(take.images[0], np.asarray(noise(1, mode="L").convert("RGB")))


def test_sixteen_bits_palettes_and_cmyk_keep_their_colours(take: Taker) -> None:
    deep = Image.fromarray(np.full((9, 9), 128 * 256 + 7, dtype=np.uint16))
    palette = Image.new("RGB", (9, 9), (20, 160, 90)).quantize(4)
    cmyk = Image.new("RGB", (9, 9), (200, 30, 60)).convert("CMYK")
    take([("a.png", encoded(deep)), ("b.png", encoded(palette)), ("c.jpg", encoded(cmyk, "jpeg", quality=95))])
    for picture, colour in zip(take.images, [(128,) * 3, (20, 160, 90), (200, 30, 60)], strict=True):
        assert np.abs(picture.astype(int) - colour).max() <= 6


@pytest.mark.parametrize("format", ["gif", "webp", "png"])
def test_an_animation_gives_its_first_picture(take: Taker, format: str) -> None:
    first, second = Image.new("RGB", (8, 8), (0, 0, 250)), Image.new("RGB", (8, 8), (250, 0, 0))
    moving = encoded(first, format, save_all=True, append_images=[second] * 3, duration=50)
    take([("a", moving), ("b", encoded(first))])
    assert np.abs(take.images[0].astype(int) - (0, 0, 250)).max() <= 8


def test_the_preview_shows_pictures_spread_over_the_set(take: Taker) -> None:
    take([(f"{i:03}.png", encoded(Image.new("L", (4, 4), i))) for i in range(101)])
    with Image.open(take.into / "preview.png") as sheet:
        pixels = np.asarray(sheet)
    assert sheet.size == (6 * 6 + 2, 6 * 6 + 2)
    assert (pixels[3, 3], pixels[-4, -4]) == (0, 100)


def test_few_pictures_and_copies_are_noted(take: Taker) -> None:
    _, report = take([*some(3).items(), ("again.png", some(1)["0.png"])])
    assert "A GAN needs at least 50 pictures; there are 4." in report.notes
    assert "1 of 4 pictures are copies of others." in report.notes
    _, report = take(list(some(50).items()))
    assert report.notes == []


def test_one_picture_is_no_data_set(take: Taker) -> None:
    error = take.refusal(list(some(1).items()))
    assert (error.code, str(error)) == (
        "invalid",
        "one picture is no data set; send at least 2, and 50 to train a GAN on them",
    )


# -- folders are classes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "classes", "labels"),
    [
        (["cat/1", "dog/1", "cat/2"], ["cat", "dog"], [0, 0, 1]),
        (["all/cat/1", "all/dog/1"], ["cat", "dog"], [0, 1]),
        (["cat/2020/1", "dog/1", "cat/2021/1"], ["cat", "dog"], [0, 0, 1]),
        (["set/train/cat/1", "set/test/cat/2", "set/train/dog/3"], ["cat", "dog"], [0, 0, 1]),
        (["Train/1", "test/2"], [], None),
        (["only/1", "only/2"], [], None),
        (["1", "2"], [], None),
        (["개/1", "고양이/2"], ["개", "고양이"], [0, 1]),
        (["cat\\1", "dog\\1"], ["cat", "dog"], [0, 1]),
    ],
)
def test_the_folder_that_varies_is_the_class(
    take: Taker, names: list[str], classes: list[str], labels: list[int] | None
) -> None:
    files = zip(names, some(len(names)).values(), strict=True)
    info, _ = take([("a.zip", zipped({f"{name}.png": data for name, data in files}))])
    assert info.classes == classes
    assert info.counts.get("classes") == (len(classes) or None)
    assert info.counts["pictures"] == len(names)
    assert labels is None or sorted(labels) == sorted(take.labels or [])


def test_labels_stay_with_their_pictures(take: Taker) -> None:
    values = {"b/1.png": 10, "a/2.png": 20, "c/0.png": 30, "a/1.png": 40}
    take([("a.zip", zipped({name: encoded(Image.new("L", (4, 4), value)) for name, value in values.items()}))])
    assert list(zip(take.images[:, 0, 0, 0].tolist(), take.labels or [], strict=True)) == [
        (40, 0),
        (20, 0),
        (10, 1),
        (30, 2),
    ]


def test_several_zips_and_a_loose_picture_are_one_set(take: Taker) -> None:
    cats, dogs = ({f"{kind}/{n}": d for n, d in some(8, start=s).items()} for kind, s in (("cat", 0), ("dog", 8)))
    info, report = take([("b.zip", zipped(cats)), ("a.zip", zipped(dogs)), ("stray.png", encoded(noise(99)))])
    assert (info.classes, info.counts["pictures"]) == (["cat", "dog"], 16)
    assert [(s.where, s.reason) for s in report.skipped] == [("stray.png", "lies in no class's folder")]
    assert (report.kept, report.skipped_count) == (16, 1)


def test_many_pictures_outside_folders_leave_the_set_without_classes(take: Taker) -> None:
    files = some(4) | {f"cat/{name}": data for name, data in some(4, start=4).items()}
    info, report = take([("a.zip", zipped(files))])
    assert (info.counts["pictures"], info.classes, take.labels) == (8, [], None)
    assert any("4 of 8 pictures lie in no folder" in note for note in report.notes)


@pytest.mark.parametrize("encoding", ["euc_kr", "utf-8"])
def test_korean_folder_names_need_not_be_marked_as_utf8(take: Taker, encoding: str) -> None:
    marks = {name: name.encode(encoding) for name in ("개", "고양이")}
    plain = {mark: b"%" * len(mark) if name == "개" else b"&" * len(mark) for name, mark in marks.items()}
    data = zipped(
        {
            f"{mark.decode()}/{n}": d
            for (mark, s) in zip(plain.values(), (0, 2), strict=True)
            for n, d in some(2, s).items()
        }
    )
    for mark, stand_in in plain.items():
        data = data.replace(stand_in + b"/", mark + b"/")
    assert take([("a.zip", data)])[0].classes == ["개", "고양이"]


def test_class_names_are_printable_and_of_bounded_length(take: Taker) -> None:
    files = {"a\x1b[31m/1.png": some(1)["0.png"], "z" * 500 + "/2.png": encoded(noise(5))}
    names = take([("a.zip", zipped(files))])[0].classes
    assert names[0] == "a\N{REPLACEMENT CHARACTER}[31m"
    assert len(names[1]) == 100


# -- what is passed over, and what is skipped ------------------------------------------------------------------------


def test_what_systems_leave_in_a_zip_is_passed_over_in_silence(take: Taker) -> None:
    litter = dict.fromkeys(
        ["__MACOSX/._0.png", ".DS_Store", "cat/.DS_Store", "Thumbs.db", "cat/Desktop.ini", ".git/x.png"], b"x"
    )
    _, report = take([("a.zip", zipped({"cat/": b"", **litter, **some(2)}))])
    assert report == Report(kept=2, notes=["A GAN needs at least 50 pictures; there are 2."])


def test_other_files_in_a_zip_are_noted_and_do_not_count_as_broken(take: Taker) -> None:
    _, report = take([("a.zip", zipped(some(2) | {f"{i}.txt": b"about these" for i in range(5)}))])
    assert report.skipped_count == 0
    assert "5 files are no picture and not used: 0.txt, 1.txt, 2.txt, …." in report.notes


BROKEN = {
    "empty.png": (b"", "is empty"),
    "text.png": (b"this is no picture", "is no picture; pictures must be PNG, JPEG, WebP or GIF"),
    "cut.png": (encoded(noise(1, (60, 60)))[:2000], "is damaged: it cannot be decoded to its end"),
    "cut.jpg": (encoded(noise(1, (60, 60)), "jpeg")[:2000], "is damaged: it cannot be decoded to its end"),
    "cut.gif": (encoded(noise(1, (60, 60)), "gif")[:2000], "is damaged: it cannot be decoded to its end"),
    "cut.webp": (encoded(noise(1, (60, 60)), "webp")[:1000], "is damaged: it cannot be decoded to its end"),
    "magic.png": (b"\x89PNG\r\n\x1a\n", "is damaged: it cannot be decoded to its end"),
    "inner.zip": (zipped(some(2)), "is a ZIP; pictures must be PNG, JPEG, WebP or GIF"),
    "more.rar": (b"Rar!\x1a\x07\x01\0", "is a RAR archive; pictures must be PNG, JPEG, WebP or GIF"),
    "logo.svg": (b"\xef\xbb\xbf<?xml?><svg/>", "is an SVG drawing; pictures must be PNG, JPEG, WebP or GIF"),
    "plain": (b"  <SVG width='1'/>", "is an SVG drawing; pictures must be PNG, JPEG, WebP or GIF"),
    "phone.jpg": (b"\0\0\0\x18ftypheic\0\0", "is a HEIC picture; pictures must be PNG, JPEG, WebP or GIF"),
    "new.avif": (b"\0\0\0\x18ftypavif\0\0", "is an AVIF picture; pictures must be PNG, JPEG, WebP or GIF"),
    "old.bmp": (encoded(noise(), "bmp"), "is a BMP picture; pictures must be PNG, JPEG, WebP or GIF"),
    "scan.tif": (encoded(noise(), "tiff"), "is a TIFF picture; pictures must be PNG, JPEG, WebP or GIF"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "in_zip"), [(n, z) for n in BROKEN for z in (True, False) if z or n != "inner.zip"])
def test_a_broken_picture_is_skipped_and_named(take: Taker, name: str, in_zip: bool) -> None:
    data, reason = BROKEN[name]
    files = some(9) | {name: data}
    info, report = take([("a.zip", zipped(files))] if in_zip else list(files.items()))
    assert info.counts["pictures"] == report.kept == 9
    assert [(s.where, s.reason) for s in report.skipped] == [(name, reason)]


def test_too_many_broken_pictures_are_refused_with_the_first_ones_name(take: Taker) -> None:
    error = take.refusal([("a.zip", zipped(some(8) | {"x.png": b"", "y.png": b""}))])
    assert error.code == "invalid"
    assert "2 of 10 pictures are broken, more than the 10% that may be left out; the first: x.png: is empty" in str(
        error
    )
    assert take([("a.zip", zipped(some(8) | {"x.png": b"", "y.png": b""}))], skipped=0.2)[0].counts["pictures"] == 8


def test_only_the_first_skipped_are_named_and_names_are_short_and_printable(take: Taker) -> None:
    broken = {f"{i:03}\n{'x' * 300}.png": b"" for i in range(SHOWN + 20)}
    _, report = take([("a.zip", zipped(some(2) | broken))], skipped=0.99)
    assert (report.skipped_count, len(report.skipped)) == (SHOWN + 20, SHOWN)
    assert all(s.where.isprintable() and len(s.where) <= 100 and s.where.endswith(".png") for s in report.skipped)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "notes.pdf",
            b"%PDF-1.7",
            "there is no picture in it: notes.pdf is a PDF; pictures must be PNG, JPEG, WebP or GIF",
        ),
        ("a.svg", b"<svg/>", "a.svg is an SVG drawing"),
        ("film.mp4", b"\0\0\0\x18ftypisom", "film.mp4 is a video"),
        ("a.png", b"no picture", "a.png is no picture"),
        ("a.zip", zipped({}), "there is no picture in it; pictures must be"),
        ("a.zip", zipped({"a/b.txt": b"text", "c.md": b"text"}), "a/b.txt is no picture"),
        ("a.zip", zipped({"b.zip": zipped(some(2))}), "b.zip is a ZIP"),
    ],
)
def test_what_holds_no_picture_at_all_is_of_an_unsupported_kind(take: Taker, name: str, data: bytes, said: str) -> None:
    error = take.refusal([(name, data)])
    assert error.code == "unsupported_media_type"
    assert said in str(error)


def test_pictures_that_are_all_broken_are_refused_as_such(take: Taker) -> None:
    error = take.refusal([("a.zip", zipped({"a.png": encoded(noise())[:60], "b.txt": b"text"}))])
    assert error.code == "invalid"
    assert "there is no usable picture in it; the first: a.png: is damaged" in str(error)


# -- ZIPs made to deceive --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../x.png",
        "a/../../x.png",
        "/etc/x.png",
        "C:/x.png",
        "c:x.png",
        "..\\x.png",
        "a\\..\\..\\x.png",
        "\\\\host\\x.png",
    ],
)
def test_names_that_lead_outside_are_refused(take: Taker, name: str) -> None:
    error = take.refusal([("a.zip", zipped(some(30) | {name: some(1)["0.png"]}))])
    assert error.code == "invalid"
    assert "wants to write outside its folder" in str(error)


@pytest.mark.parametrize(
    ("kind", "said"), [(0o120777, "holds a link (odd.png)"), (0o010644, "something that is no file")]
)
def test_links_and_devices_are_refused(take: Taker, kind: int, said: str) -> None:
    entry = zipfile.ZipInfo("odd.png")
    entry.create_system, entry.external_attr = 3, kind << 16
    out = io.BytesIO(zipped(some(30)))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    error = take.refusal([("a.zip", out.getvalue())])
    assert (error.code, said in str(error)) == ("invalid", True)


def patched(data: bytes, signature: bytes, at: int, value: bytes) -> bytes:
    """`value` written `at` bytes behind every `signature`."""
    out, start = bytearray(data), 0
    while (start := data.find(signature, start)) >= 0:
        out[start + at : start + at + len(value)] = value
        start += 1
    return bytes(out)


def test_an_encrypted_zip_is_refused(take: Taker) -> None:
    data = patched(zipped(some(3)), b"PK\x01\x02", 8, b"\x01\0")
    error = take.refusal([("a.zip", data)])
    assert (error.code, str(error)) == ("invalid", "a.zip is encrypted (0.png); make it again without a password")


def test_unusual_compression_is_refused(take: Taker) -> None:
    error = take.refusal([("a.zip", zipped(some(3), compression=zipfile.ZIP_BZIP2))])
    assert (error.code, "packed in an unusual way" in str(error)) == ("invalid", True)


@pytest.mark.parametrize("cut", [5, 40, -1, -30, -200])
def test_a_truncated_zip_is_refused(take: Taker, cut: int) -> None:
    error = take.refusal([("a.zip", zipped(some(5))[:cut])])
    assert error.code == "invalid"
    assert "a.zip is not a ZIP that can be read" in str(error)


def test_a_damaged_entry_is_skipped_and_a_lying_size_gives_no_more_than_it_says(take: Taker) -> None:
    whole = zipped(some(2), compression=zipfile.ZIP_STORED)
    start = whole.index(b"IDAT")
    damaged = whole[: start + 10] + b"\xff\xff\xff" + whole[start + 13 :]
    assert (
        take([("a.zip", damaged), *some(8, start=2).items()], skipped=0.2)[1].skipped[0].reason
        == "is damaged inside the ZIP"
    )
    short = patched(zipped(some(2)), b"PK\x01\x02", 24, struct.pack("<I", 40))
    error = take.refusal([("a.zip", short)])
    assert "damaged" in str(error)


def test_a_directory_that_says_garbage_is_refused(take: Taker) -> None:
    data = zipped(some(5))
    rng = np.random.default_rng(0)
    start, refused = data.index(b"PK\x01\x02"), 0
    for _ in range(200):  # whatever it is, it is said as a refusal, or the pictures are read
        out = bytearray(data)
        for at in rng.integers(start, len(data), 4):
            out[at] = rng.integers(256)
        try:
            take([("a.zip", bytes(out))], unpacked_bytes=10**6)
        except Rejected:
            refused += 1
    assert refused > 50


def test_a_zip_bomb_is_refused_by_what_it_declares(take: Taker) -> None:
    bomb = zipped({f"{i}.png": b"\0" * 10_000_000 for i in range(5)})
    assert len(bomb) < 100_000
    error = take.refusal([("a.zip", bomb)], unpacked_bytes=40_000_000)
    assert (error.code, str(error)) == ("too_large", "unpacked, this is more than 40,000,000 bytes; send less at once")


def padded(megabytes: int, seed: int) -> bytes:
    """A good picture followed by zeros: a kilobyte in a ZIP."""
    return encoded(noise(seed)) + bytes(megabytes * 1_000_000)


def test_a_zip_bomb_is_refused_by_what_comes_out_over_all_files_together(take: Taker) -> None:
    one, two = (zipped({f"{i}.png": padded(4, i) for i in range(s, s + 4)}) for s in (0, 4))
    assert take([("a.zip", one)], unpacked_bytes=20_000_000)[0].counts["pictures"] == 4
    error = take.refusal([("a.zip", one), ("b.zip", two)], unpacked_bytes=20_000_000)
    assert error.code == "too_large"


def test_a_picture_file_of_excessive_size_is_not_read_to_its_end(take: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_BYTES", 2**20)
    _, report = take([("a.zip", zipped({**some(9), "x.png": padded(3, 1)}))])
    assert [(s.where, s.reason) for s in report.skipped] == [("x.png", "is larger than 1 MiB")]


def test_entries_that_lie_over_each_other_are_refused(take: Taker) -> None:
    data = zipped({"0.png": padded(1, 0), "1.png": padded(1, 1)})
    directory = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", directory + 1)
    shared = data[: second + 42] + struct.pack("<I", 0) + data[second + 46 :]  # both at the first one's bytes
    error = take.refusal([("a.zip", shared)])
    assert (error.code, "lie over each other" in str(error)) == ("invalid", True)
    long = data[: second + 20] + struct.pack("<I", 10**6) + data[second + 24 :]
    assert "a file in it does not end" in str(take.refusal([("a.zip", long)]))


def test_too_many_files_are_refused(take: Taker) -> None:
    error = take.refusal([("a.zip", zipped(some(6)))], files=5)
    assert (error.code, str(error)) == ("too_large", "a.zip holds more than 5 files; send fewer at once")
    error = take.refusal([("a.zip", zipped(some(4))), *some(2).items()], files=5)
    assert (error.code, str(error)) == ("too_large", "there are more than 5 files; send fewer at once")


def test_a_directory_of_many_entries_is_refused_before_it_is_taken_apart(
    take: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart: list[int] = []
    monkeypatch.setattr(archive, "_entry", lambda *_: apart.append(1))
    folders = dict.fromkeys((f"{i}/" for i in range(3000)), b"")
    for many in (folders, {f"{i}" + "x" * 60_000: b"" for i in range(20)}):  # by number, by size
        assert take.refusal([("a.zip", zipped(many))], files=5).code == "too_large"
    assert apart == []


# -- pictures made to deceive ----------------------------------------------------------------------------------------


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG whose header may say anything."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("width", [10_000, 2**31 - 1])
def test_a_pixel_bomb_is_refused_from_its_header(take: Taker, width: int) -> None:
    _, report = take([*some(9).items(), ("x.png", png(width, 10_000, bytes(1000)))])
    assert report.skipped[0].where == "x.png"
    assert report.skipped[0].reason in (
        "has more than 50,000,000 pixels",
        "is damaged: it cannot be decoded to its end",
    )


def test_the_limit_of_pixels_is_the_setting_alone(take: Taker) -> None:
    most = Image.MAX_IMAGE_PIXELS
    files = [*some(9).items(), ("x.png", encoded(Image.new("1", (200, 100))))]
    assert take(files, picture_pixels=20_000)[1].skipped_count == 0
    for pixels in (19_999, 5_000):  # Pillow warns up to twice the limit, and raises beyond
        assert take(files, picture_pixels=pixels)[1].skipped[0].reason == f"has more than {pixels:,} pixels"
    huge = encoded(Image.new("1", (13_400, 13_400)))  # more than Pillow takes by default
    assert take([("x.png", huge), *some(2).items()], picture_pixels=200_000_000)[1].skipped_count == 0
    assert most == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("size", [(1000, 1000), (0, 5)])
def test_a_lying_header_is_a_broken_picture(take: Taker, size: tuple[int, int]) -> None:
    _, report = take([*some(9).items(), ("x.png", png(*size, bytes(200)))])
    assert (report.skipped[0].where, report.skipped_count) == ("x.png", 1)
    assert take.images.shape[1] == 12  # the size it claimed is nobody's


def test_running_out_of_memory_is_not_called_a_broken_picture(take: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: Image.Image) -> None:
        raise MemoryError

    files = list(some(3).items())
    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(MemoryError):
        take(files)
    assert os.listdir(take.folder) == ["files"]
