"""Words with the capitals and spaces that a person would type."""

import unicodedata

import pytest

from ml.data import text
from ml.data.text import Vocabulary
from ml.serve import orthography
from ml.serve.orthography import Manner, completed, has_case, join, manner

# -- capitals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before",
    [
        *(
            "",
            "  ",
            "\n",
            "I went home. ",
            "I went home.",
            "Is it so? ",
            "Yes! ",
            'He said: "Go home." ',
            "(So it is.) ",
        ),
        *("It was I. ", "He said\n", "The end.\n\n“", "He has 3. ", "Στο σπίτι. ", "Ես այստեղ եմ։ ", "The end.” "),
    ],
)
def test_a_sentence_begins_with_a_capital(before: str) -> None:
    assert manner(before) == Manner(capital=True)
    assert manner(before).word("then") == "Then"


@pytest.mark.parametrize(
    "before",
    [
        "I went ",
        "I went, ",
        "I went",
        "Well... ",
        "Well… ",
        "Bread, e.g. ",
        "By J. R. R. ",
        "God (",
        "Of: ",
        "“So",
        "A-",
    ],
)
def test_inside_a_sentence_it_does_not(before: str) -> None:
    assert manner(before) == Manner()


def test_who_begins_sentences_with_small_letters_gets_small_letters() -> None:
    assert not manner("i went home. ").capital
    assert not manner("hello! how are you? ").capital
    assert manner("hello! How are you? ").capital
    assert not manner("hi\n").capital


@pytest.mark.parametrize(
    ("before", "shouts"),
    [
        ("AND THE LORD ", True),
        ("I DON'T ", False),  # one word, and "I" is always a capital
        ("We WON'T GO ", True),
        ("USA ", False),
        ("The USA ", False),
        ("ДА НЕТ ", True),
        ("안녕 하늘 ", False),
        ("12 34 ", False),
    ],
)
def test_behind_two_words_in_capitals_all_are(before: str, shouts: bool) -> None:
    assert manner(before).shouts == shouts
    assert manner(before).word("straße") == ("STRASSE" if shouts else "straße")


@pytest.mark.parametrize(
    ("shown", "written"),
    [
        *(("the", "The"), ("God", "God"), ("iPhone", "iPhone"), ("o’clock", "O’clock"), ("2nd", "2nd"), ("😀", "😀")),
        *(("éclair", "Éclair"), ("하늘", "하늘"), ("שלום", "שלום"), ("ელა", "ელა"), ("ǆep", "ǅep"), ("ß", "Ss")),
    ],
)
def test_a_capital_is_put_on_a_small_word_only(shown: str, written: str) -> None:
    assert Manner(capital=True).word(shown) == written
    assert Manner().word(shown) == shown


@pytest.mark.parametrize(
    ("typed", "shown", "word"),
    [
        ("tit", "title", "title"),
        ("Tit", "title", "Title"),
        ("TIT", "title", "TITLE"),
        ("T", "title", "Title"),
        ("TI", "title", "TITLE"),
        ("mo", "Moses", "Moses"),
        ("MO", "Moses", "MOSES"),
        ("McD", "mcdonald", "McDonald"),
        ("iP", "iPhone", "iPhone"),
        ("ip", "iPhone", "iPhone"),
        ("DON'", "don’t", "DON’T"),
        ("Don'", "don’t", "Don’t"),
        ("Cafe", "café", "Café"),
        (unicodedata.normalize("NFD", "Éc"), "éclair", "Éclair"),
        ("하느", "하늘", "하늘"),
        ("ㅎ", "하늘", "하늘"),
        ("של", "שלום", "שלום"),
        ("2N", "2nd", "2Nd"),
    ],
)
def test_a_completion_keeps_the_capitals_that_were_typed(typed: str, shown: str, word: str) -> None:
    assert completed(typed, shown) == word


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["The dog. Then home."], True),
        (["the dog. then God."], False),
        (["오늘은 좋네요."], False),
    ],
)
def test_a_text_in_small_letters_is_left_in_small_letters(lines: list[str], expected: bool) -> None:
    assert has_case(text.build_vocabulary(lines)) == expected


def test_where_nobody_looked_the_words_tell() -> None:
    treebank = ("<unk>", "<eos>", *(f"word{i}" for i in range(500)), "N")
    assert not has_case(Vocabulary(treebank, treebank))
    assert not has_case(text.plain_vocabulary(["I like dog", "I hate milk"]))  # the lecture's
    assert not has_case(Vocabulary((), ()))
    assert has_case(Vocabulary(("the", "god"), ("the", "God")))


# -- spaces ----------------------------------------------------------------------------------------------------------

SENTENCES = [
    "The dog, it was said, ran home; nobody knew why.",
    "He said: “Go home!” Then he went (as ever) to bed.",
    'She asked: "Why not?" Nobody answered.',
    '"Why not," she asked. "Because."',
    "It’s 3.14, or 3:16, or 3,000 at most.",
    "I have 2, 3 and 4; that's 5% of $80 and #7.",
    "Well... he didn't come. A well-known man - or so.",
    "This/that and the other: 👍🏽 😀 so good ❤️!",
    "¿Qué pasa? ¡Nada!",
    "저는 커피를 좋아해요. 오늘은 하늘이 맑아요!",
    "שלום עולם, מה שלומך?",
    "مرحبا، كيف حالك؟ بخير.",
    "वह घर गया। फिर सो गया।",
    "The boys' toys are [mostly] here.",
    "He called it 'a day' and slept.",
    "'Go,' he said.",
    "The sea—blue as ever—was calm.",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_is_joined_as_it_was_written(sentence: str) -> None:
    assert join(text.tokenize(sentence)) == unicodedata.normalize("NFC", sentence)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_and_so_it_is_behind_any_of_its_beginnings(sentence: str) -> None:
    tokens = text.tokenize(sentence)
    for cut in range(1, len(tokens)):
        before = join(tokens[:cut])
        assert before + join(tokens[cut:], before) == unicodedata.normalize("NFC", sentence)


def test_new_sentences_get_their_capitals() -> None:
    assert join(["in", "the", "beginning", ".", "then", "God", "said"]) == "In the beginning. Then God said"
    assert join(["in", "the"], "it was so. ") == "in the"
    assert join(["in", "the"], "IT WAS SO. ") == "IN THE"
    assert (
        join(["the", "LORD", "GOD", "said"], "and ") == "the LORD GOD said"
    )  # what is said in capitals is not shouted
    assert join(["in", ".", "the"], case=False) == "in. the"


@pytest.mark.parametrize("token", [*".,;:!?…—-()“”\"'’", "،", "؟", "।", "¿", "«"])
def test_marks_stand_between_words(token: str) -> None:
    assert orthography.is_mark(token)


@pytest.mark.parametrize("token", [*"_*#@&%/$+=", "a", "😀", "--", "<unk>", ""])
def test_other_signs_do_not(token: str) -> None:
    assert not orthography.is_mark(token)


def test_a_typewriters_dash_has_no_spaces_and_a_hyphen_has() -> None:
    assert join(text.tokenize("One thing--the other - a third,--so.")) == "One thing--the other - a third,--so."
    assert join(["-"], "so -") == "-"
    assert join(["more"], "so --") == "more"


def test_a_space_is_put_only_where_there_is_none() -> None:
    assert join(["dog"], "the") == " dog"
    assert join(["dog"], "the ") == "dog"
    assert join([","], "the dog") == ","
    assert join(["dog"], "the (") == "dog"
    assert join(["5"], "it is 2") == " 5"
    assert join([]) == ""


def test_a_long_sentence_is_no_small_beginning() -> None:
    assert manner("So he went on and on " + "and on " * orthography.LOOKED_AT + "until the end. ").capital


def test_what_stands_far_before_does_not_count() -> None:
    far = "UPPER CASE. " * 1_000 + "Then he went. " * (orthography.LOOKED_AT // 14 + 1)
    assert join(["then"], far) == "Then"
