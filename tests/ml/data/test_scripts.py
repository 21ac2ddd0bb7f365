"""Sentences of several scripts through tokenizer, vocabulary and half-typed words."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from ml.data import text
from ml.serve.prefix import PrefixIndex

SENTENCES = {
    "korean": ["오늘은 날씨가 참 좋네요.", "친구와 한강에서 자전거를 탔어요!", "내일은 비가 온대요 ㅠㅠ"],
    "hebrew": ["הילדה קראה ספר בגינה.", "למה צה״ל נקרא כך? ג׳ירפה לא יודעת."],
    "arabic": ["ذهب الولد إلى المدرسة، ثم عاد.", "هل تحب القهوة؟"],
    "persian": ["من نمی‌خواهم به خانه برگردم.", "کتاب‌ها روی میز هستند."],
    "hindi": ["बच्चा स्कूल जाता है।", "मुझे हिन्दी अच्छी लगती है।"],
    "vietnamese": ["Tiếng Việt không khó lắm.", "Tôi thích uống cà phê sữa đá."],
    "greek": ["Ο γάτος κοιμάται στον ήλιο.", "Πού πας;"],
    "ukrainian": ["У сім'ї п’ять дітей.", "Їжак з’їв об'єкт."],
    "catalan": ["La col·lecció és bonica.", "Vull l’aigua."],
    "emoji": ["Good luck 🍀 my friend 👩🏽‍🚀 🇰🇷 ❤️", "Done ✅ 1️⃣ 👍🏿 🏳️‍🌈"],
}
EVERY = [sentence for sentences in SENTENCES.values() for sentence in sentences]


@pytest.mark.parametrize("sentence", EVERY)
def test_between_spaces_stand_a_word_and_its_marks(sentence: str) -> None:
    """No word of these scripts falls apart: what is between two spaces is one word and at most a mark behind it."""
    tokens = text.tokenize(sentence)
    words = [piece.rstrip(".,!?;،؟।") for piece in sentence.split()]
    assert [token for token in tokens if text.is_word(token)] == [unicodedata.normalize("NFC", w) for w in words]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("script", SENTENCES)
def test_a_vocabulary_knows_every_word_in_either_form(script: str, form: str) -> None:
    vocabulary = text.build_vocabulary(SENTENCES[script])
    assert vocabulary.unk is not None
    for sentence in SENTENCES[script]:
        written = unicodedata.normalize(form, sentence)
        for variant in (written, written.upper() if script != "greek" else written):
            ids = vocabulary.encode(text.tokenize(variant))
            assert vocabulary.unk not in ids
            assert [vocabulary.words[i] for i in ids] == [text.key(token) for token in text.tokenize(sentence)]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("script", SENTENCES)
def test_every_word_is_found_at_each_letter_of_it(script: str, form: str) -> None:
    vocabulary = text.build_vocabulary(SENTENCES[script])
    index = PrefixIndex(vocabulary.words)
    for sentence in SENTENCES[script]:
        for word in filter(text.is_word, text.tokenize(sentence)):
            typed = unicodedata.normalize(form, word)
            for end in range(1, len(typed) + 1):
                assert vocabulary.ids[text.key(word)] in index.starting_with(typed[:end])


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("친구와 한가", ("한가", 4)),
        ("친구와 ㅎ", ("ㅎ", 4)),
        ("הילדה קר", ("קר", 6)),
        ("למה צה״", None),
        ("למה צה״ל", ("צה״ל", 4)),
        ("من نمی\u200c", ("نمی\u200c", 3)),  # the joiner is typed before the letter behind it
        ("من نمی\u200c\u200c", None),
        ("Đi cà phe\u0302", ("phe\u0302", 6)),
        ("👩🏽‍🚀 🇰🇷", None),
        ("col·l", ("col·l", 0)),
    ],
)
def test_the_half_typed_word_of_a_script(written: str, found: tuple[str, int] | None) -> None:
    assert text.last_word(written) == found


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("п’ять", "п'ять"),
        ("пʼять", "п'ять"),
        ("❤️", "❤"),
        ("well\u2011known", "well-known"),
        ("well\u2010known", "well-known"),
        ("in\u00adter\u00adest", "interest"),
        ("\ufe0f", "\ufe0f"),
    ],
)
def test_what_looks_alike_is_looked_up_alike(written: str, same: str) -> None:
    assert text.key(written) == same
    assert text.key(same) == same


def test_underscores_belong_to_a_word_only_inside_it() -> None:
    assert text.tokenize("_Enter_ snake_case") == ["_", "Enter", "_", "snake_case"]


def test_hidden_hyphens_are_no_part_of_a_word() -> None:
    assert text.tokenize("an in\u00adter\u00adest\u00ad ing") == ["an", "interest", "ing"]
    assert "interest" in text.build_vocabulary(["an in\u00adterest"]).shown


@pytest.mark.parametrize("token", ["🇰🇷", "🏳️‍🌈", "1️⃣", "✅", "ㅠㅠ", "صباح"])
def test_flags_and_emoji_may_be_suggested(token: str) -> None:
    assert text.is_word(token)


@pytest.mark.parametrize("token", ["\u0301a", "\u0303", "\ufe0f", "\u200da", "�", "。", "؟", "।", "״"])
def test_broken_tokens_and_marks_may_not(token: str) -> None:
    assert not text.is_word(token)


@pytest.mark.parametrize(
    ("lines", "capitals"),
    [
        (["The end. It was so.", "“And then?” he said."], True),
        (["the end. it was so.", "God was there"], False),
        (["The end. Then home. so it was."], True),
        (["오늘은 좋네요.", "שלום"], False),
        ([], False),
    ],
)
def test_a_vocabulary_tells_whether_sentences_begin_with_capitals(lines: list[str], capitals: bool) -> None:
    assert text.build_vocabulary(lines).capitals is capitals
    counts = text.WordCounts()
    for line in lines:
        counts.add(f"{line}\n")
        counts.different()  # reads what was counted so far
    assert counts.vocabulary().capitals is capitals


@pytest.mark.parametrize("broken", [{"shown": ["a"]}, {"shown": ["a", 1]}, {"words": ["a", None]}])
def test_a_vocabulary_without_a_form_for_each_word_is_not_read(tmp_path: Path, broken: dict[str, Any]) -> None:
    value = {"words": ["a", "b"], "shown": ["a", "B"], "unk": None, "eos": None}
    (tmp_path / "vocabulary.json").write_text(json.dumps(value))
    assert text.Vocabulary.load(tmp_path / "vocabulary.json").capitals is None  # of before 0.4
    (tmp_path / "vocabulary.json").write_text(json.dumps(value | broken))
    with pytest.raises(ValueError, match="form to show"):
        text.Vocabulary.load(tmp_path / "vocabulary.json")
