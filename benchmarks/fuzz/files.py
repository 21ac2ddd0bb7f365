"""Files as people and attackers send them: hypothesis strategies for texts, pictures, ZIPs, and exported models."""

import codecs
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "cp949", "cp932", "cp1252", "latin-1", "gb18030")
MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE)
NAMES = (
    *("a.txt", "b.md", "c.csv", "d.zip", "e.png", "f.jpg", "g.gif", "h.webp", "i", "j.docx", "ㅎ.txt"),
    *("." * 300, "\u202e.txt", "a\0b.txt", "../up.txt"),
)
HUGE = [0, 1, -1, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1]


# -- bytes that were something once ------------------------------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """What `whole` gives: as it is, cut short, with bytes changed or left out, repeated, or with something before."""
    data = draw(whole)
    match draw(st.sampled_from(["whole", "cut", "flipped", "flipped", "hole", "twice", "before", "patched"])):
        case "cut":
            return data[: draw(st.integers(0, len(data)))]
        case "flipped":
            changed = bytearray(data)
            for _ in range(draw(st.integers(1, 8))):
                if changed:
                    changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
            return bytes(changed)
        case "hole":
            start = draw(st.integers(0, len(data)))
            return data[:start] + data[start + draw(st.integers(0, 64)) :]
        case "twice":
            return data + data
        case "before":
            return draw(st.binary(max_size=16)) + data
        case "patched":  # a length or a size, as attackers choose them
            at = draw(st.integers(0, max(0, len(data) - 4)))
            number = draw(st.sampled_from(HUGE)) & 0xFFFFFFFF
            return data[:at] + struct.pack(draw(st.sampled_from(["<I", ">I"])), number) + data[at + 4 :]
    return data


# -- texts -------------------------------------------------------------------------------------------------------------


@st.composite
def _piece(draw: st.DrawFn) -> bytes:
    match draw(st.sampled_from(["words", "words", "bytes", "long", "control", "mark", "surrogate"])):
        case "words":
            return draw(st.text(max_size=60)).encode(draw(st.sampled_from(ENCODINGS)), "ignore")
        case "bytes":
            return draw(st.binary(max_size=60))
        case "long":
            unit = draw(st.sampled_from([b"a", b"word ", b"\xed\x95\x9c", b"\xff", b"\0", b"A. ", b"e\xcc\x81"]))
            return unit * draw(st.sampled_from([999, 10_001, 65_536, 400_000]))
        case "control":
            return draw(st.sampled_from([b"\0", b"\x1a", b"\x7f", b"\x1b[2J", "\u2028\u202e\ufeff".encode(), b"\x85"]))
        case "mark":
            return draw(st.sampled_from(MARKS))
    return draw(st.sampled_from(["\ud800", "\udfff", "\udc80"])).encode("utf-16-le", "surrogatepass")


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A text file, or what claims to be one."""
    ends = draw(st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\0", b""]))
    pieces = draw(st.lists(_piece(), max_size=12))
    start = draw(st.sampled_from([b"", b"", b"", *MARKS]))
    return start + ends.join(pieces)


# -- pictures ----------------------------------------------------------------------------------------------------------

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("L", "P", "RGB"),
    "WEBP": ("RGB", "RGBA"),
}
SIZES = [(1, 1), (1, 300), (300, 1), (2, 3), (28, 28), (129, 64), (400, 300)]


@st.composite
def whole_pictures(draw: st.DrawFn) -> bytes:
    """A right picture: any mode, palettes, animations, EXIF blocks."""
    kind = draw(st.sampled_from(list(MODES)))
    mode, size = draw(st.sampled_from(MODES[kind])), draw(st.sampled_from(SIZES))
    shade = draw(st.integers(0, 255))
    image = Image.new("L", size, shade).convert("I;16" if mode == "I;16" else mode)
    options: dict[str, Any] = {}
    if mode == "P" and draw(st.booleans()):
        options["transparency"] = draw(st.sampled_from([0, 255, b"\0" * 4]))
    if mode != "I;16" and kind != "JPEG" and draw(st.booleans()):
        others = [Image.new("L", size, 255 - shade).convert(mode) for _ in range(draw(st.integers(1, 3)))]
        options |= {"save_all": True, "append_images": others, "duration": draw(st.sampled_from([0, 20, 65535]))}
    if kind in ("JPEG", "PNG", "WEBP") and draw(st.booleans()):
        options["exif"] = b"Exif\0\0" + draw(st.binary(max_size=40))
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG, its checksum right."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@st.composite
def lying_pngs(draw: st.DrawFn) -> bytes:
    """A PNG that is well-formed and says what is not so: sizes, depths, compressed blocks that grow without end."""
    side = st.sampled_from([0, 1, 3, 4000, 65_535, 2**31 - 1, 2**32 - 1])
    depth = draw(st.sampled_from([1, 2, 4, 8, 16, 3, 0]))
    header = struct.pack(">IIBBBBB", draw(side), draw(side), depth, draw(st.sampled_from([0, 2, 3, 4, 6, 1])), 0, 0, 0)
    bomb = zlib.compress(bytes(draw(st.sampled_from([10, 4_000, 20_000_000]))), 9)
    extra = {
        b"zTXt": b"a\0\0" + bomb,
        b"iTXt": b"a\0\1\0\0\0" + bomb,
        b"iCCP": b"a\0\0" + bomb,
        b"PLTE": draw(st.binary(max_size=12)),
        b"tRNS": draw(st.binary(max_size=8)),
        b"acTL": struct.pack(">II", draw(st.sampled_from(HUGE)) & 0xFFFFFFFF, 0),
        b"eXIf": draw(st.binary(max_size=30)),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(extra)), max_size=3))
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *(chunk(kind, extra[kind]) for kind in chosen),
            chunk(b"IDAT", bomb),
            chunk(b"IEND", b""),
        )
    )


def pictures() -> st.SearchStrategy[bytes]:
    return st.one_of(damaged(whole_pictures()), damaged(lying_pngs()), lying_pngs(), whole_pictures())


# -- ZIPs --------------------------------------------------------------------------------------------------------------

PATHS = st.one_of(
    st.sampled_from(["a.png", "cat/1.png", "dog/2.png", "../x.png", "/etc/x", "C:\\x.png", "a/", "__MACOSX/._a", ""]),
    st.text(max_size=20),
)


@st.composite
def zips(draw: st.DrawFn) -> bytes:
    """A ZIP of pictures and other things: doubled names, links, encrypted flags, bombs, comments."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")  # a name that is there already
        for _ in range(draw(st.integers(0, 6))):
            path = draw(PATHS).encode("utf-8", "replace").decode()
            info = zipfile.ZipInfo(path or "x")
            info.compress_type = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
            info.external_attr = draw(st.sampled_from([0, 0o100644 << 16, 0o120777 << 16, 0o040755 << 16, 0x10]))
            kind = draw(st.sampled_from(["picture", "picture", "text", "bomb", "zip"]))
            data = {
                "picture": lambda: draw(whole_pictures()),
                "text": lambda: draw(st.binary(max_size=50)),
                "bomb": lambda: b"\x89PNG\r\n\x1a\n" + bytes(1_000_000),
                "zip": lambda: b"PK\x05\x06" + bytes(18),
            }[kind]()
            archive.writestr(info, data)
        archive.comment = draw(st.binary(max_size=20))
    return out.getvalue()


# -- exported models ---------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**400, -(10**30), 2**63, 2**31, 1e308, -1e308, 1e-320, 0, -1, "", "\ud800", "x" * 5000]),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=10),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def replaced(draw: st.DrawFn, value: Any) -> Any:
    """JSON with one value, somewhere in it, replaced or left out."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        name = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 9)):
            return {key: inner for key, inner in value.items() if key != name}
        return {**value, name: draw(replaced(value[name]))}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(replaced(value[at])), *value[at + 1 :]]
    return draw(JSON)


@st.composite
def lying_tensors(draw: st.DrawFn, data: bytes) -> bytes:
    """A safetensors file whose header or numbers are not what they were."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
    if draw(st.booleans()) and body:  # numbers alone: the file stays well-formed
        for _ in range(draw(st.integers(1, 20))):
            at = draw(st.integers(0, len(body) - 1))
            value = draw(st.sampled_from([b"\xff" * 8, bytes(8), b"\x7f" * 8, draw(st.binary(min_size=1, max_size=8))]))
            body[at : at + len(value)] = value[: len(body) - at]
    else:
        header = draw(replaced(header))
    said = json.dumps(header).encode("utf-8", "replace")
    length = draw(st.sampled_from([len(said)] * 6 + [0, len(said) + 1, 2**40, 2**64 - 1]))
    return length.to_bytes(8, "little") + said + bytes(body)


@st.composite
def bundles(draw: st.DrawFn, versions: list[Path]) -> bytes:
    """An exported version with something wrong in it; mostly its checksums are right, so that not they decide."""
    folder = draw(st.sampled_from(versions))
    held = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
    manifest = json.loads(held.pop("manifest.json"))
    for _ in range(draw(st.integers(1, 2))):
        kind = draw(st.sampled_from(["manifest", "manifest", "file", "file", "file", "other", "left out"]))
        name = draw(st.sampled_from(sorted(held))) if held else ""
        if kind == "manifest" or not held:
            manifest = draw(replaced(manifest))
            if not isinstance(manifest, dict):
                break
        elif kind == "left out":
            del held[name]
        elif kind == "other":  # another version's file of the same name
            other = draw(st.sampled_from(versions)) / name
            held[name] = other.read_bytes() if other.exists() else draw(st.binary(max_size=100))
        elif name.endswith(".json"):
            value = draw(replaced(json.loads(held[name])))
            held[name] = json.dumps(value).encode("utf-8", "replace")
        elif name.endswith(".safetensors") and len(held[name]) > 8:
            try:
                held[name] = draw(lying_tensors(held[name]))
            except ValueError:  # it was changed before
                held[name] = draw(damaged(st.just(held[name])))
        elif name.endswith(".png"):
            held[name] = draw(lying_pngs())
        elif name.endswith(".zlib"):
            held[name] = zlib.compress(draw(st.sampled_from([b"", b"\n\n", bytes(30_000_000), b"\xff\n" * 9])))
        else:
            held[name] = draw(damaged(st.just(held[name])))
    if isinstance(manifest, dict) and draw(st.integers(0, 9)):
        manifest["files"] = {
            name: {"sha256": sha256(data).hexdigest(), "bytes": len(data)} for name, data in held.items()
        }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))) as archive:
        for name, data in [("manifest.json", json.dumps(manifest).encode("utf-8", "replace")), *held.items()]:
            archive.writestr(f"x@1/{name}", data)
    whole = out.getvalue()
    return whole if draw(st.integers(0, 7)) else draw(damaged(st.just(whole)))


Strategy = Callable[..., st.SearchStrategy[bytes]]
