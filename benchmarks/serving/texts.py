"""What is asked: random texts, and people typing. Must not know: who is asked, or how."""

from collections.abc import Iterator, Sequence

import numpy as np

LENGTH = 20  # words of a text
TYPED = 18  # words that a typist writes before the next text


def random_texts(words: Sequence[str], count: int, seed: int) -> list[str]:
    """Texts of LENGTH words each, all words as likely: with a large vocabulary no two begin alike."""
    drawn = np.random.default_rng(seed).integers(len(words), size=(count, LENGTH)).tolist()
    return [" ".join([words[i] for i in row]) + " " for row in drawn]


def typing(words: Sequence[str], random: np.random.Generator) -> Iterator[str]:
    """What one typist's page asks, for ever: each text is the one before with a word more, or a letter.

    Half of the words come letter by letter, the others (a suggestion was taken) at once, with the space behind them.
    """
    while True:
        text = words[random.integers(len(words))] + " "
        yield text
        for _ in range(TYPED - 1):
            word = words[random.integers(len(words))] + " "
            for part in word if random.random() < 0.5 else [word]:
                text += part
                yield text


def typed_texts(words: Sequence[str], count: int, typists: int, seed: int, apart: bool = False) -> list[str]:
    """`count` texts of so many typists, who take turns.

    `apart` puts another first word into each, so that no two texts share a beginning: equal work for a server that
    remembers nothing, and nothing to remember for one that does.
    """
    random = np.random.default_rng(seed)
    streams = [typing(words, np.random.default_rng((seed, number))) for number in range(typists)]
    texts = [next(streams[at % typists]) for at in range(count)]
    if not apart:
        return texts
    return [words[random.integers(len(words))] + text[text.index(" ") :] for text in texts]
