"""Users' text files: every encoding, every kind of broken, and nothing left behind when they are refused."""

import io
import json
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from ml.data import encodings, intake, store, text, texts
from ml.data.intake import Limits, Rejected, Report, Source
from ml.data.store import DatasetInfo
from tests.ml import tiny

KOREAN = "나는 개를 좋아한다.\n너는 고양이를 좋아한다.\n오늘은 날씨가 좋다.\n"
JAPANESE = "私は犬が好きです。\nあなたは猫が好きです。\n"
FRENCH = "Le café est très bon à l’été.\nÇa va bien, où êtes-vous ?\n"
SENTENCE = "The dog barks at the other dog. "


class Shelf:
    """A folder of files to send, and an empty one for what becomes of them."""

    def __init__(self, folder: Path) -> None:
        self.files, self.made = folder / "files", folder / "made"
        self.files.mkdir()
        self.made.mkdir()

    def take(self, *contents: bytes | tuple[str, bytes], limits: Limits | None = None) -> tuple[DatasetInfo, Report]:
        named = [item if isinstance(item, tuple) else ("notes.txt", item) for item in contents]
        sources = []
        for i, (name, content) in enumerate(named):
            path = self.files / f"part-{i}"
            path.write_bytes(content)
            sources.append(Source(name, path))
        return texts.take_texts(sources, self.made / "set", tiny.info("text"), limits or Limits())

    def refuses(self, *contents: bytes | tuple[str, bytes], code: str = "invalid") -> str:
        with pytest.raises(Rejected) as refused:
            self.take(*contents)
        assert refused.value.code == code
        assert list(self.made.iterdir()) == []
        return str(refused.value)

    @property
    def lines(self) -> list[str]:
        return list(store.read_lines(self.made / "set"))

    @property
    def preview(self) -> dict[str, list]:  # type: ignore[type-arg]
        return json.loads((self.made / "set" / "preview.json").read_bytes())  # type: ignore[no-any-return]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


# -- what is kept ----------------------------------------------------------------------------------------------------


def test_a_text_becomes_a_data_set_that_says_what_it_holds(shelf: Shelf) -> None:
    info, report = shelf.take(b"I like the dog.\n\n  You like God, the Cat! \nAnd the dog, and God.\n")
    assert shelf.lines == ["I like the dog.", "You like God, the Cat!", "And the dog, and God."]
    size = (shelf.made / "set" / "text.txt").stat().st_size
    assert info.counts == {"lines": 3, "words": 14, "bytes": size, "vocabulary": 8}
    assert store.read_info(shelf.made / "set") == info
    assert (report.kept, report.skipped_count, report.encoding, report.notes) == (3, 0, "utf-8", [])
    assert info.sha256 == store.write_text(shelf.made / "same", tiny.info("text"), shelf.lines).sha256
    assert sorted(path.name for path in (shelf.made / "set").iterdir()) == ["dataset.json", "preview.json", "text.txt"]


def test_the_preview_has_the_first_lines_and_the_common_words_as_written(shelf: Shelf) -> None:
    shelf.take("".join(f"In {i} the God said: the, the. {i}\n" for i in range(60)).encode())
    assert shelf.preview["lines"] == shelf.lines[:20]
    common = shelf.preview["common_words"]
    assert common[:3] == [
        {"word": "the", "count": 180},
        {"word": "in", "count": 60},
        {"word": "God", "count": 60},
    ]
    assert len(common) == 50
    assert not {entry["word"] for entry in common} & {",", ".", ":"}


def test_a_built_in_text_gets_the_same_preview(shelf: Shelf) -> None:
    shelf.take(("".join(f"line {i} of it\n" for i in range(30)) + KOREAN).encode())
    folder, expected = shelf.made / "set", shelf.preview
    (folder / "preview.json").unlink()
    texts.preview(folder)
    assert shelf.preview == expected


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"], ids=["crlf", "cr", "lf"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp949"])
def test_encoding_and_line_ends_make_no_other_data_set(shelf: Shelf, codec: str, end: str) -> None:
    plain, _ = shelf.take(KOREAN.encode())
    mark = b"\xfe\xff" if codec == "utf-16-be" else b""
    info, report = shelf.take(mark + KOREAN.replace("\n", end).encode(codec))
    assert shelf.lines == KOREAN.split("\n")[:-1]
    assert info == plain
    assert report.encoding == {"utf-8-sig": "utf-8", "utf-16-be": "utf-16"}.get(codec, codec)


def test_line_ends_that_fall_between_two_chunks_are_one(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "one two\r\nthree\r\rfour 커피 😀\r\nfive\r"
    for codec in ("utf-8", "utf-16"):
        for chunk in range(1, 12):
            monkeypatch.setattr(encodings, "CHUNK", chunk)
            shelf.take(text.encode(codec))
            assert shelf.lines == ["one two", "three", "four 커피 😀", "five"], (codec, chunk)


def test_only_line_ends_end_a_line(shelf: Shelf) -> None:
    shelf.take("one\ftwo\vthree\x85four\u2028five\n".encode())
    assert shelf.lines == ["one\ftwo\vthree\x85four\u2028five"]


def test_several_files_are_one_text_in_their_order(shelf: Shelf) -> None:
    info, report = shelf.take(
        ("a.txt", "no line end".encode("utf-16")), ("empty.txt", b""), ("b.txt", KOREAN.encode("cp949"))
    )
    assert shelf.lines == ["no line end", *KOREAN.split("\n")[:-1]]
    assert info.counts["lines"] == 4
    assert report.encoding == "utf-16, cp949"
    assert report.notes[0] == "empty.txt is empty and was left out."
    assert "b.txt is not UTF-8; it was detected to be cp949" in report.notes[1]


# -- the detector ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "codec", "told"),
    [
        (KOREAN, "cp949", "cp949"),
        (KOREAN, "euc_kr", "cp949"),
        ("안녕하세요\n", "cp949", "cp949"),
        ("똠방각하 펲시콜라 찦차를 타고\n", "cp949", "cp949"),
        ("Mostly English it is\n" * 30 + "안녕 세계\n", "cp949", "cp949"),
        (FRENCH, "cp1252", "cp1252"),
        ("Die Straße ist schön. Über den Wolken muß die Freiheit wohl grenzenlos sein.\n", "latin-1", "cp1252"),
        ("It’s a “quoted” thing — really, for 5 €\n", "cp1252", "cp1252"),
        ("Nothing to see here\n" * 30 + "but a café\n", "latin-1", "cp1252"),
        (JAPANESE, "cp932", "cp932"),
        (JAPANESE, "euc_jp", "euc_jp"),
        ("我喜欢狗。你喜欢猫。\n今天天气很好，我们去公园吧。\n", "gb18030", "gb18030"),
        ("Я люблю собак. Ты любишь кошек.\nСегодня хорошая погода.\n", "cp1251", "cp1251"),
    ],
)
def test_an_encoding_without_a_mark_is_told_and_said(shelf: Shelf, written: str, codec: str, told: str) -> None:
    _, report = shelf.take(written.encode(codec))
    assert report.encoding == told
    assert shelf.lines == written.split("\n")[:-1]
    (note,) = report.notes
    assert note.startswith(f"notes.txt is not UTF-8; it was detected to be {told} and read as that.")


@pytest.mark.parametrize("broken", [b"\xff\xfe\xfa \x80", b"bad \xff line", b"cut \xea\xb0", b"\xc3("])
def test_a_few_broken_lines_leave_a_text_utf_8(shelf: Shelf, broken: bytes) -> None:
    for line in ("plain English", "커피를 좋아해요"):
        _, report = shelf.take(f"{line}\n".encode() * 16 + broken + b"\n" + f"{line}\n".encode() * 3)
        assert (report.encoding, report.kept, report.skipped_count) == ("utf-8", 19, 1)
        assert [(skip.where, skip.reason) for skip in report.skipped] == [("line 17", "cannot be read as utf-8")]


def test_broken_lines_of_korean_leave_it_korean(shelf: Shelf) -> None:
    _, report = shelf.take(KOREAN.encode("cp949") * 10 + b"cut \xb0\n")
    assert (report.encoding, report.kept) == ("cp949", 30)
    assert [(skip.where, skip.reason) for skip in report.skipped] == [("line 31", "cannot be read as cp949")]


def test_what_fits_no_encoding_is_refused(shelf: Shelf) -> None:
    message = shelf.refuses(bytes([0x98, 0x81, 0x20, 0xFF, 0xFF, 0x0A]) * 20, code="unsupported_media_type")
    assert message == "the encoding of notes.txt cannot be told; save it as UTF-8 and send it again"


# -- broken lines ----------------------------------------------------------------------------------------------------


def test_broken_lines_are_named_by_their_number_blank_ones_counted(shelf: Shelf) -> None:
    good = b"good\n\n" * 10
    _, report = shelf.take(good + b"nul \0 here\n" + good + b"esc \x1b is kept\nbel \x07 not\n")
    assert [skip.where for skip in report.skipped] == ["line 21", "line 43"]
    assert "esc \x1b is kept" in shelf.lines
    assert report.kept == len(shelf.lines) == 21


def test_of_several_files_the_broken_line_has_its_files_name(shelf: Shelf) -> None:
    _, report = shelf.take(("a.txt", b"good\n" * 20), ("b.txt", b"good\n" * 20 + b"\xff\n"))
    assert [skip.where for skip in report.skipped] == ["b.txt, line 21"]


def test_half_a_character_or_half_a_pair_breaks_a_line_of_utf_16(shelf: Shelf) -> None:
    good = "good\n" * 20
    pair = good.encode("utf-16-le") + b"\x3d\xd8" + f"lost\n{good}".encode("utf-16-le")
    for body, line in ((pair, "line 21"), (good.encode("utf-16-le") + b"x", "line 21")):
        _, report = shelf.take(b"\xff\xfe" + body)
        assert [skip.where for skip in report.skipped] == [line]
        assert set(shelf.lines) == {"good"}


def test_more_broken_lines_than_allowed_are_refused(shelf: Shelf) -> None:
    text = b"good\n" * 17 + b"bad \0\n" * 3
    assert shelf.take(text, limits=Limits(skipped=0.2))[1].skipped_count == 3
    (shelf.made / "set").rename(shelf.files / "kept")
    message = shelf.refuses(text)
    assert message.startswith("3 of 20 lines are broken, more than the 10% that may be left out; the first: line 18: ")


def test_only_so_many_broken_lines_are_named(shelf: Shelf) -> None:
    _, report = shelf.take(b"good\n" * 1990 + b"bad \0\n" * 150)
    assert report.skipped_count == 150
    assert len(report.skipped) == intake.SHOWN


# -- refused ---------------------------------------------------------------------------------------------------------


def test_an_empty_file_is_refused(shelf: Shelf) -> None:
    assert "notes.txt is empty" in shelf.refuses(b"")
    assert "no usable line" in shelf.refuses(("a.txt", b""), ("b.txt", b""))


@pytest.mark.parametrize("blank", [b"\n\n \n\t\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xef\xbb\xbf\n"])
def test_a_file_without_a_word_is_refused(shelf: Shelf, blank: bytes) -> None:
    assert "no usable line" in shelf.refuses(blank)


def picture() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(file, "png")
    return file.getvalue()


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a.txt", "text " * 100)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (picture(), "a PNG picture"),
        (archive(), "a ZIP archive"),
        (b"%PDF-1.7\nobj\n", "a PDF"),
        (bytes(range(256)) * 40, "binary"),
        (b"\0" * 1000, "binary"),
        ("no mark\nat all\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("한국어\n".encode("utf-32"), "text in UTF-32"),
    ],
)
def test_what_is_no_text_is_refused_with_what_it_is(shelf: Shelf, content: bytes, kind: str) -> None:
    message = shelf.refuses(content, code="unsupported_media_type")
    assert message.startswith(f"notes.txt is not a plain text but {kind}") or kind in message
    shelf.refuses(("good.txt", b"good\n"), ("bad.txt", content), code="unsupported_media_type")


@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_one_line_of_100_megabytes_is_refused_without_holding_it(shelf: Shelf, codec: str) -> None:
    path = shelf.files / "long.txt"
    with path.open("wb") as file:
        file.write("one ".encode(codec))
        block = "never ends ".encode("utf-16-le" if codec == "utf-16" else codec) * 10_000
        for _ in range(100_000_000 // len(block) + 1):
            file.write(block)
    tracemalloc.start()
    try:
        with pytest.raises(Rejected) as refused:
            texts.take_texts([Source("long.txt", path)], shelf.made / "set", tiny.info("text"), Limits())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(refused.value) == "there is no usable line in it; the first: line 1: longer than 1,000,000 bytes"
    assert refused.value.code == "invalid"
    assert list(shelf.made.iterdir()) == []
    assert peak < 20_000_000


@pytest.mark.parametrize("chunk", [300_000, 1 << 20, 1 << 22])
def test_a_line_too_long_among_others_is_left_out(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(encodings, "CHUNK", chunk)
    short = "커피 short\n".encode() * 20
    for size in (1_000_001, 1_500_000, 5_000_000):
        _, report = shelf.take(short + b"x" * size + b"\n" + short + b"y" * size)
        assert [skip.where for skip in report.skipped] == ["line 21", "line 42"]
        assert shelf.lines == ["커피 short"] * 40


# -- long lines ------------------------------------------------------------------------------------------------------


def test_long_lines_are_cut_where_sentences_end(shelf: Shelf) -> None:
    line = SENTENCE * 1_000  # 32,000 characters
    info, report = shelf.take(f"{line}\nshort\n".encode())
    assert [len(cut) for cut in shelf.lines] == [9_983, 9_983, 9_983, 2_047, 5]
    assert all(cut.endswith("dog.") for cut in shelf.lines[:-1])
    assert " ".join(shelf.lines[:-1]) == line.strip()
    assert report.notes == ["1 line of more than 10,000 characters were cut where a sentence or a word ends."]
    assert info.counts["lines"] == report.kept == 5


@pytest.mark.parametrize(("line", "glue"), [("word " * 5_000, " "), ("커" * 25_000, "")], ids=["words", "one word"])
def test_without_sentences_they_are_cut_between_words_or_anywhere(line: str, glue: str) -> None:
    pieces = list(texts.cut(line.strip()))
    assert len(pieces) == 3
    assert max(map(len, pieces)) <= 10_000
    assert glue.join(pieces) == line.strip()


# -- size ------------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_text(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "CHUNK", 1 << 14)
    path = shelf.files / "large.txt"
    peaks = []
    for times in (8, 32):
        path.write_bytes(f"{SENTENCE}\n".encode() * 1_000 * times)
        tracemalloc.start()
        info, _ = texts.take_texts([Source("large.txt", path)], shelf.made / "set", tiny.info("text"), Limits())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert info.counts["lines"] == 1_000 * times
    assert peaks[1] < 1.1 * peaks[0] < 3_000_000


def test_so_many_words_that_the_rarest_are_forgotten_are_said(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "WordCounts", lambda: text.WordCounts(most=100))
    info, report = shelf.take("".join(f"the word{i}\n" for i in range(1_000)).encode())
    assert info.counts["vocabulary"] <= 100
    assert report.notes == ["The text has more than 100 different words; the rarest were not counted."]
    assert shelf.preview["common_words"][0] == {"word": "the", "count": 1_000}
