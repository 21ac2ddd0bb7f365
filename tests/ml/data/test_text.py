"""Tokens, vocabulary, split and batches, in every script."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from ml.data import text
from ml.data.text import EOS, UNK, Vocabulary

FAMILY = "👨‍👩‍👧"  # three people joined by zero-width joiners
FLAG = "🇰🇷"
VALIDATION_OF_100 = [11, 14, 19, 90, 92]
TEST_OF_100 = [44, 63, 64, 75, 78]


# -- tokens ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "tokens"),
    [
        ("I like dogs.", ["I", "like", "dogs", "."]),
        ("  white\t space\n\r\n ", ["white", "space"]),
        ("저는 커피를 좋아해요.", ["저는", "커피를", "좋아해요", "."]),
        ("안녕,세계", ["안녕", ",", "세계"]),
        ("don't don’t", ["don't", "don’t"]),
        ("'quoted'", ["'", "quoted", "'"]),
        ("well-known", ["well-known"]),
        ("wait - what", ["wait", "-", "what"]),
        ("3.14 and 2nd", ["3", ".", "14", "and", "2nd"]),
        (f"hi{FAMILY}!", ["hi", FAMILY, "!"]),
        (f"{FLAG}{FLAG}", [FLAG, FLAG]),
        ("👍🏽ok", ["👍🏽", "ok"]),
        ("❤️", ["❤️"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("مرحبا، بالعالم", ["مرحبا", "،", "بالعالم"]),
        ("می‌خواهم", ["می‌خواهم"]),  # a zero-width non-joiner inside a Persian word
        ("नमस्ते", ["नमस्ते"]),  # combining vowels and a virama
        ("snake_case", ["snake_case"]),
        ("<unk>", ["<", "unk", ">"]),
        ("", []),
    ],
)
def test_tokens_are_words_and_single_graphemes(written: str, tokens: list[str]) -> None:
    assert text.tokenize(written) == tokens


def test_composed_and_decomposed_text_have_the_same_tokens() -> None:
    for word in ("café", "커피", "Ångström"):
        decomposed = unicodedata.normalize("NFD", word)
        assert decomposed != word
        assert text.tokenize(decomposed) == [word]
        assert text.key(decomposed) == text.key(word)


def test_stacked_combining_marks_stay_on_their_letter() -> None:
    zalgo = "z" + "\u0335\u0322\u0353" * 5
    assert text.tokenize(f"a {zalgo} b") == ["a", unicodedata.normalize("NFC", zalgo), "b"]


@pytest.mark.parametrize("unseen", ["\x00", "\x1b", "\x7f", "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800"])
def test_controls_and_bidirectional_marks_are_no_tokens(unseen: str) -> None:
    assert text.tokenize(f"{unseen}one {unseen} two{unseen}") == ["one", "two"]
    assert text.tokenize(unseen * 10) == []


def test_binary_never_gives_a_token_that_cannot_be_seen() -> None:
    noise = bytes(range(256)).decode("latin-1") * 20
    tokens = text.tokenize(noise)
    assert len(tokens) > 1000
    assert not [t for t in tokens if any(unicodedata.category(c) == "Cc" or c.isspace() for c in t)]


@pytest.mark.parametrize(
    ("token", "form"), [("The", "the"), ("DON’T", "don't"), ("É", "é"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("커피", "커피")]
)
def test_a_key_is_lower_case_with_a_straight_apostrophe(token: str, form: str) -> None:
    assert text.key(token) == form
    assert text.key(text.key(token)) == form


@pytest.mark.parametrize("token", ["word", "커피", "42", "2nd", "😀", FAMILY, "don't", "עולם"])
def test_words_numbers_and_emoji_may_be_suggested(token: str) -> None:
    assert text.is_word(token)


@pytest.mark.parametrize("token", [".", ",", "-", "“", "'", "<", "$", "\u0301", "_", UNK, EOS])
def test_punctuation_and_the_special_entries_may_not(token: str) -> None:
    assert not text.is_word(token)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("I like do", ("do", 7)),
        ("do", ("do", 0)),
        ("well-kno", ("well-kno", 0)),
        ("I don’t", ("don’t", 2)),
        ("😀😀 커", ("커", 3)),
        ("x " + unicodedata.normalize("NFD", "café"), (unicodedata.normalize("NFD", "café"), 2)),
        ("do ", None),
        ("do.", None),
        ("do\n", None),
        ("do 😀", None),
        ("don'", None),
        ("", None),
    ],
)
def test_the_last_word_is_as_typed_with_its_place_in_code_points(written: str, found: tuple[str, int] | None) -> None:
    assert text.last_word(written) == found


@pytest.mark.timeout(6)  # milliseconds when each text is read once; a third of a second a text when it is read n times
def test_a_long_word_and_a_space_do_not_hold_up_the_others() -> None:
    for _ in range(60):
        assert text.last_word("a" * 3_999 + " ") is None


# -- vocabulary ------------------------------------------------------------------------------------------------------


def test_words_are_kept_by_count_the_most_frequent_first() -> None:
    vocabulary = text.build_vocabulary(["b a a a", "b c"], min_count=2)
    assert vocabulary.words == (UNK, EOS, "a", "b")
    assert (vocabulary.unk, vocabulary.eos, len(vocabulary)) == (0, 1, 4)


def test_the_most_words_are_a_limit() -> None:
    assert text.build_vocabulary(["a a a b b c"], max_words=2).words == (UNK, EOS, "a", "b")


def test_a_name_is_shown_with_its_capital_and_an_article_without() -> None:
    lines = ["The earth was without form.", "And God said that the God of the earth was there. The end"]
    vocabulary = text.build_vocabulary(lines)
    shown = dict(zip(vocabulary.words, vocabulary.shown, strict=True))
    assert shown["god"] == "God"
    assert shown["the"] == "the"
    assert shown["earth"] == "earth"


def test_a_word_seen_only_at_the_start_of_a_sentence_is_shown_small() -> None:
    vocabulary = text.build_vocabulary(["Then he went. Now he came"])
    assert "then" in vocabulary.shown
    assert "now" in vocabulary.shown


def test_curly_and_straight_apostrophes_are_one_word() -> None:
    vocabulary = text.build_vocabulary(["I don't", "I don’t", "I don’t"])
    assert [word for word in vocabulary.words if word.startswith("don")] == ["don't"]
    assert "don’t" in vocabulary.shown


def test_encoding_finds_words_in_any_case_and_form() -> None:
    vocabulary = text.build_vocabulary(["café God"])
    tokens = ["CAFÉ", unicodedata.normalize("NFD", "café"), "god"]
    assert [vocabulary.words[i] for i in vocabulary.encode(tokens)] == ["café", "café", "god"]


def test_a_strange_word_is_unk_or_left_out_where_there_is_none() -> None:
    assert text.build_vocabulary(["a b"]).encode(["a", "zebra", "b"]) == [2, 0, 3]
    assert text.plain_vocabulary(["a b"]).encode(["a", "zebra", "b"]) == [0, 1]


def test_the_special_entries_cannot_be_typed() -> None:
    vocabulary = text.build_vocabulary(["a <unk> <eos>"])
    ids = vocabulary.encode(text.tokenize("<unk> <eos>"))
    assert vocabulary.unk not in ids
    assert vocabulary.eos not in ids


def test_only_words_may_be_suggested() -> None:
    vocabulary = text.build_vocabulary(["word , 😀 ."])
    suggested = {vocabulary.words[i] for i in np.flatnonzero(vocabulary.is_suggestion)}
    assert suggested == {"word", "😀"}


def test_a_plain_vocabulary_is_the_words_and_nothing_else() -> None:
    vocabulary = text.plain_vocabulary(["i like dog", "you like cat"])
    assert vocabulary.words == vocabulary.shown == ("i", "like", "dog", "you", "cat")
    assert vocabulary.unk is None
    assert vocabulary.eos is None


@pytest.mark.parametrize(
    "vocabulary",
    [text.build_vocabulary(["God likes 커피 😀"]), text.plain_vocabulary(["i like"]), Vocabulary((), ())],
    ids=["built", "plain", "empty"],
)
def test_a_vocabulary_survives_its_file(tmp_path: Path, vocabulary: Vocabulary) -> None:
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == vocabulary


# -- split -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [20, 21, 100, 799, 999, 5000, 31_103, 100_000])
def test_each_held_out_part_is_about_a_twentieth_of_the_lines(count: int) -> None:
    parts = text.split_lines(count)
    assert parts.dtype == np.uint8
    training, validation, test = np.bincount(parts)
    assert validation == test == pytest.approx(max(1, round(count * 0.05)), rel=0.05)
    assert training + validation + test == count


@pytest.mark.parametrize(("count", "together"), [(300, 1), (2000, 5), (10_000, 25), (50_000, 50)])
def test_the_longer_a_text_the_more_neighbours_are_held_out_together(count: int, together: int) -> None:
    parts = text.split_lines(count)
    for part in (1, 2):
        lines = np.flatnonzero(parts == part)
        blocks = np.split(lines, np.flatnonzero(np.diff(lines) > 1) + 1)
        assert min(len(block) for block in blocks) == together
        assert len(blocks) >= 15


@pytest.mark.parametrize("count", [100_050, 3_000_000])
def test_of_a_long_text_only_so_many_lines_are_held_out(count: int) -> None:
    parts = text.split_lines(count)
    assert np.bincount(parts).tolist() == [count - 10_000, 5_000, 5_000]
    for part in (1, 2):
        stretches = np.flatnonzero(parts == part) * 20 // count
        assert np.bincount(stretches, minlength=20).min() > 100


def test_the_split_is_the_same_every_time_whatever_the_seeds() -> None:
    for count in (300, 200_000):
        first = text.split_lines(count)
        np.random.seed(99)
        np.testing.assert_array_equal(text.split_lines(count), first)


def test_the_split_is_the_one_that_versions_were_scored_on() -> None:
    parts = text.split_lines(100)
    assert np.flatnonzero(parts == 1).tolist() == VALIDATION_OF_100
    assert np.flatnonzero(parts == 2).tolist() == TEST_OF_100


def test_the_held_out_lines_are_spread_over_the_text() -> None:
    parts = text.split_lines(2000)
    for part in (1, 2):
        quarters = np.bincount(np.flatnonzero(parts == part) * 4 // 2000, minlength=4)
        assert quarters.min() >= 20, quarters


@pytest.mark.parametrize("count", [0, 1, 19])
def test_a_short_text_is_not_split(count: int) -> None:
    assert text.split_lines(count).tolist() == [0] * count


# -- large texts -----------------------------------------------------------------------------------------------------

ODD = [
    "The end. The End! the\tend?\u00a0The end",
    "\x00a\x00b\x1cc\u200bd e\u2028f \ud800",
    f"{FAMILY}{FLAG} don’t “Quoted.” Quoted",
    unicodedata.normalize("NFD", "Café café 커피"),
    "",
    " \u0301x . \u0301y",
]


def test_cut_at_white_space_first_a_text_has_the_same_tokens() -> None:
    vocabulary = text.build_vocabulary(ODD)
    expected = [vocabulary.eos]
    for line in ODD:
        expected += [*vocabulary.encode(text.tokenize(line)), vocabulary.eos]
    assert text.encode_lines(ODD, vocabulary).tolist() == expected
    assert vocabulary.unk not in expected
    assert sorted(vocabulary.words[2:]) == sorted({text.key(token) for line in ODD for token in text.tokenize(line)})


def test_words_are_counted_alike_in_blocks_of_any_size() -> None:
    lines = [*ODD, "God said", "and God saw", "And THE light"] * 3
    blocks = ["".join(f"{line}\n" for line in lines[at : at + 7]) for at in range(0, len(lines), 7)]
    counts = text.WordCounts()
    assert sum(map(counts.add, blocks)) == sum(len(line.replace("\0", " ").split()) for line in lines)
    assert counts.vocabulary() == text.build_vocabulary(lines)
    assert counts.different() == len([word for word in counts.vocabulary().words if text.is_word(word)])
    assert not counts.forgot


def test_common_words_are_shown_as_written_and_without_punctuation() -> None:
    counts = text.WordCounts()
    counts.add("And God said, and God saw, that God, ...\n" * 2)
    assert counts.common(3) == [("God", 6), ("and", 4), ("said", 2)]


def test_when_there_are_too_many_words_the_rarest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_MOST_PIECES", 50)
    counts = text.WordCounts(most=200)
    for i in range(1_000):
        counts.add(f"well the God said word{i} to GOD{i}\n")
    assert counts.forgot
    assert counts.different() <= 200
    vocabulary = counts.vocabulary(min_count=2)
    assert vocabulary.words[2:] == ("well", "the", "god", "said", "to")
    assert vocabulary.shown[4] == "God"


def test_what_is_not_remembered_is_encoded_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"one two{i}" for i in range(30)]
    vocabulary = text.build_vocabulary(lines)
    expected = text.encode_lines(lines, vocabulary)
    monkeypatch.setattr(text, "_MOST_PIECES", 5)
    encoder = text.Encoder(vocabulary)
    np.testing.assert_array_equal(encoder.encode("".join(f"{line}\n" for line in lines)), expected[1:])
    assert len(encoder) == 5


# -- batches ---------------------------------------------------------------------------------------------------------


def test_every_line_stands_between_ends() -> None:
    vocabulary = text.build_vocabulary(["a b", "b"])
    ids = text.encode_lines(["a b", "", "zebra"], vocabulary)
    assert ids.dtype == np.int32
    assert " ".join(vocabulary.words[i] for i in ids) == "<eos> a b <eos> <eos> <unk> <eos>"
    assert text.encode_lines([], vocabulary).tolist() == [vocabulary.eos]


def test_targets_are_one_ahead_and_batches_continue_each_other() -> None:
    ids = np.arange(101, dtype=np.int32)
    batches = list(text.stream_batches(ids, batch_size=4, length=7))
    inputs = np.concatenate([x for x, _ in batches], axis=1)
    for x, y in batches:
        assert x.dtype == y.dtype == np.int64
        np.testing.assert_array_equal(y, x + 1)
    np.testing.assert_array_equal(inputs, np.arange(100).reshape(4, 25))


def test_streams_resume_at_any_batch() -> None:
    ids = np.arange(200, dtype=np.int32)
    whole = list(text.stream_batches(ids, 3, 5))
    for start in range(len(whole) + 1):
        rest = list(text.stream_batches(ids, 3, 5, start))
        assert len(rest) == len(whole) - start
        for (x, y), (x_whole, y_whole) in zip(rest, whole[start:], strict=True):
            np.testing.assert_array_equal(x, x_whole)
            np.testing.assert_array_equal(y, y_whole)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_ids_give_no_batch(count: int) -> None:
    assert list(text.stream_batches(np.arange(count, dtype=np.int32), batch_size=4, length=2)) == []


def test_batches_are_as_many_as_promised() -> None:
    wrong = []
    for count in range(1, 80):
        for batch_size in (1, 2, 3, 5, 8):
            for length in (1, 2, 7, 64):
                promised = text.batches_per_epoch(count, batch_size, length)
                given = len(list(text.stream_batches(np.arange(count, dtype=np.int32), batch_size, length)))
                if given != promised:
                    wrong.append((count, batch_size, length, given, promised))
    assert wrong == []
