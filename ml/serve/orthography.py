"""Words as a person would type them: capitals, and where spaces go between words and marks.

Must not know: models. Tokens are those of ml.data.text, in the form in which its vocabulary shows them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import regex

from ml.data import text
from ml.data.text import Vocabulary

LOOKED_AT = 400  # characters before the cursor, which tell how a person writes

_QUOTED = r"""["'\p{Pi}\p{Pf}\p{Ps}\p{Pe}]"""  # quotation marks and brackets of either kind
_BEHIND_MARKS = regex.compile(rf"(?r)(?:\s|{_QUOTED})*\Z")
# A full stop behind another ("..."), or behind one letter ("e.g.", "J. R."), ends no sentence; "It is I." does.
_ENDS = regex.compile(r"(?r)(?<![.…]|(?<![\p{L}\p{M}\p{N}])(?!I)\p{L})\.\Z|(?!\.)\p{Sentence_Terminal}\Z")
_BEGINNING = regex.compile(rf"(?:\A\s*|\p{{Sentence_Terminal}}{_QUOTED}*\s+|\n[^\S\n]*){_QUOTED}*(\p{{L}})")
_WORD = regex.compile(r"(?r)\p{L}[\p{L}\p{M}'’\-]*\p{L}")

_MARK = regex.compile(r"(?V1)[\p{P}--[_*#@&%/\\§¶†‡•]]")
_NO_SPACE_BEFORE = regex.compile(r"[\p{Pe}\p{Pf}.,;:!?…%°،؛؟。、।]|\p{M}+")
_NO_SPACE_BEHIND = regex.compile(r"[\p{Ps}\p{Pi}¿¡#@\p{Sc}]")
_TIGHT = ("/", "—", "--")
_NUMBER = regex.compile(r"(?r)(?:^|[^\p{L}])\p{Nd}+([.:,])?\Z")


def is_mark(token: str) -> bool:
    """Whether a token is a mark of the kind that stands between the words of a sentence."""
    return not token.isalnum() and _MARK.fullmatch(token) is not None


@dataclass(frozen=True)
class Manner:
    """How what comes next is written."""

    capital: bool = False  # it begins a sentence
    shouts: bool = False  # everything is in capitals

    def word(self, shown: str) -> str:
        """A next word in this manner. What has a capital anywhere ("iPhone", "God") keeps its form."""
        if self.shouts:
            return shown.upper()
        return _capitalised(shown) if self.capital else shown


PLAIN = Manner()


def has_case(vocabulary: Vocabulary) -> bool:
    """Whether the writer of a vocabulary's text used capitals: at a sentence's start, or in one word of 200.

    The lecture's has none, nor has a corpus in small letters whose numbers are all "N".
    """
    if vocabulary.capitals is not None:
        return vocabulary.capitals
    return sum(form != form.lower() for form in vocabulary.shown) * 200 >= max(1, len(vocabulary))


def manner(before: str) -> Manner:
    """How to go on behind `before`: in capitals behind two words in capitals, and as it began its sentences so far."""
    if len(before) > LOOKED_AT:
        before = "," + before[-LOOKED_AT:]  # no sentence begins where it is cut
    words = [match.group() for _, match in zip(range(2), _WORD.finditer(before), strict=False)]
    shouts = len(words) == 2 and all(map(str.isupper, words))
    return Manner(begins_sentence(before) and not _writes_small(before), shouts)


def begins_sentence(before: str) -> bool:
    """Whether what follows `before` begins a sentence: at the start, on a new line, or behind a sentence's end."""
    marks = _BEHIND_MARKS.search(before)
    assert marks is not None  # it matches the empty string
    said = before[: marks.start()]
    return not said or "\n" in marks.group() or _ENDS.search(said) is not None


def completed(typed: str, shown: str) -> str:
    """The word that `typed` becomes: the capitals that were typed stay, and those it is shown with are added.

    "TIT" -> "TITLE", "Tit" -> "Title", "mo" -> "Moses", "McD" -> "McDonald".
    """
    if typed.islower() and shown.startswith(typed):  # as people type most of the time
        return shown
    typed = text.composed(typed)
    if sum(letter.isupper() for letter in typed) > 1 and typed.isupper():
        return shown.upper()
    if text.key(shown[: len(typed)]) == text.key(typed):
        capitals = (one if one.isupper() else other for one, other in zip(typed, shown, strict=False))
        return "".join(capitals) + shown[len(typed) :]
    return _capitalised(shown) if typed[:1].isupper() else shown


def join(tokens: Sequence[str], after: str = "", case: bool = True) -> str:
    """The text that `tokens` add behind `after`, with a space in front where one belongs between the two.

    No space before "," or behind "(", a capital behind a full stop, quotation marks to the side they open or close.
    `case` false leaves every word as it is.
    """
    if not tokens:
        return ""
    before, shouts = after, case and manner(after).shouts
    for token in _with_dashes(tokens):
        gap = "" if not before or before[-1].isspace() or not _is_spaced(before, token) else " "
        before += gap
        capital = case and not shouts and text.is_word(token) and manner(before).capital
        before += Manner(capital, shouts).word(token)
    return before[len(after) :]


def _with_dashes(tokens: Iterable[str]) -> Iterable[str]:
    """The tokens, a typewriter's dash ("--") in one piece."""
    for are_hyphens, run in groupby(tokens, "-".__eq__):
        if are_hyphens:
            yield "".join(run)
        else:
            yield from run


def _is_spaced(before: str, following: str) -> bool:
    """Whether a space belongs between `before`, which ends in no white space, and `following`."""
    before = before[-LOOKED_AT:]
    last = before[-1]
    if following == '"':
        return before.count('"') % 2 == 0
    if last == '"':
        return before.count('"') % 2 == 0 and not _NO_SPACE_BEFORE.fullmatch(following)
    if following == "'":
        return not (last == "s" or " '" in before or before.startswith("'"))
    if last == "'":
        return before[-2:-1].strip() != "" and not _NO_SPACE_BEFORE.fullmatch(following)
    if following.startswith(_TIGHT) or before.endswith(_TIGHT) or (following == last == "-"):
        return False
    if _NO_SPACE_BEFORE.fullmatch(following) or _NO_SPACE_BEHIND.fullmatch(last):
        return False
    if following.isdecimal() and (number := _NUMBER.search(before)) and number[1]:
        return number[1] == "," and len(following) != 3  # "3.14", "3:16" and "3,000", but "3, 14"
    return True


def _capitalised(word: str) -> str:
    return word if word != word.lower() else word[:1].title() + word[1:]


def _writes_small(before: str) -> bool:
    """Whether the sentences in `before` begin with small letters: so do those of who writes like that."""
    letters = _BEGINNING.findall(before)
    return bool(letters) and all(letter.islower() for letter in letters)
