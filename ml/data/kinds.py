"""What kind of file something is, by its first bytes: a name says nothing that could be relied on.

Must not know: where the files came from, or what is made of them.
"""

from typing import Literal

HEAD = 512  # bytes that are enough to tell

Picture = Literal["PNG", "JPEG", "GIF", "WEBP"]  # as Pillow calls them
PICTURES: tuple[Picture, ...] = ("PNG", "JPEG", "GIF", "WEBP")
WHAT_WORKS = "pictures must be PNG, JPEG, WebP or GIF"

_PICTURES: dict[bytes, Picture] = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
}
_OTHERS = {
    b"%PDF-": "a PDF",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"\xff\x0a": "a JPEG XL picture",
    b"8BPS": "a Photoshop picture",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\xd0\xcf\x11\xe0": "an office document",
}
_ARCHIVES = frozenset({"a ZIP", *(kind for kind in _OTHERS.values() if kind.endswith("archive"))})
_HEIF_BRANDS = {b"avif": "an AVIF picture", b"avis": "an AVIF picture"}


def picture(head: bytes) -> Picture | None:
    """Which of the supported kinds of picture begins with `head`; None for anything else."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for magic, kind in _PICTURES.items() if head.startswith(magic)), None)


def is_zip(head: bytes) -> bool:
    """Whether a file begins as a ZIP does, an empty one too."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def other(head: bytes) -> str | None:
    """What a file is that can be neither a text nor a supported picture, in words; None where that is not known."""
    if is_zip(head):
        return "a ZIP"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand[:2] in (b"he", b"mi", b"ms"):
            return "a HEIC picture"
        return _HEIF_BRANDS.get(brand, "a video")
    if head[:2] == b"BM" and head[6:10] == bytes(4):  # "BMW" is no picture
        return "a BMP picture"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<svg") or (start.startswith((b"<?xml", b"<!--", b"<!doctype")) and b"<svg" in start):
        return "an SVG drawing"
    return next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None)


def holds_pictures(kind: str) -> bool:
    """Whether someone who sent a file of this kind (words of `other`) will miss pictures that are in it."""
    return kind.endswith(("picture", "drawing")) or kind in _ARCHIVES
