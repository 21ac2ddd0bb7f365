"""What a text model says while it learns: always the same beginnings, so that one can watch them end better."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ml.data import text
from ml.data.text import Vocabulary
from ml.families.base import Preview

if TYPE_CHECKING:
    from ml.families.lstm.model import TextData
    from ml.families.lstm.network import WordLSTM

MOST_ANSWERS = 24  # windows whose answers are told
BEGINNINGS = 4
LONGEST = 20  # words of a sentence that begins with nothing
MORE = 10  # words behind a beginning
TEMPERATURE = 0.7  # of the sentence that begins with nothing; a beginning goes on with the likeliest words


@torch.no_grad()
def answers(model: "WordLSTM", data: "TextData") -> Preview:
    """The last word of each of the lecture's windows, and how likely the right one is."""
    vocabulary, device = data.vocabulary, model.noise.device
    rows = torch.from_numpy(data.splits["train"][:MOST_ANSWERS].astype(np.int64))  # (N, context + 1)
    x = rows[:, :-1].to(device)
    chances = torch.softmax(model(x, torch.full((len(x),), x.shape[1], device=device)).float(), 1).cpu()  # (N, V)
    told = [_answer(vocabulary, row, each) for row, each in zip(rows.tolist(), chances, strict=True)]
    said = " ".join((*told[0]["context"], told[0]["answers"][0]["word"]))
    return Preview(text=said, detail={"answers": told})


def _answer(vocabulary: Vocabulary, row: list[int], chances: Tensor) -> dict[str, Any]:
    """What is predicted after a window's words, and the word that does follow. `chances`: (V,)."""
    best = [
        {"word": vocabulary.shown[i], "probability": round(float(chances[i]), 4)}
        for i in chances.topk(min(2, len(chances)))[1]
    ]
    *context, word = (vocabulary.shown[i] for i in row)
    return {"context": context, "word": word, "probability": round(float(chances[row[-1]]), 4), "answers": best}


@torch.no_grad()
def sentences(model: "WordLSTM", data: "TextData") -> Preview:
    """A sentence from nothing, drawn from a fixed seed, and the ends of lines that the model has not seen."""
    vocabulary = data.vocabulary
    said = _go_on(model, vocabulary, [vocabulary.eos or 0], LONGEST, torch.Generator().manual_seed(1))
    told = [
        {"begins": _shown(vocabulary, ids), "goes_on": _shown(vocabulary, _go_on(model, vocabulary, ids, MORE))}
        for ids in _beginnings(data)
    ]
    return Preview(text=_shown(vocabulary, said), detail={"sentences": told} if told else {})


def _beginnings(data: "TextData") -> list[list[int]]:
    """The first half, five words at most, of lines spread over the held-out part (or what there is)."""
    vocabulary = data.vocabulary
    ids = next((data.splits[part] for part in ("validation", "train") if len(data.splits.get(part, ())) > 1), None)
    if ids is None or vocabulary.eos is None:
        return []
    lines = [ids[first:end].tolist() for first, end in text.line_starts(np.asarray(ids[:100_000]), vocabulary.eos)]
    lines = [line for line in lines if len(line) > 4 and vocabulary.unk not in line[:6]]
    spread = np.linspace(0, len(lines) - 1, min(BEGINNINGS, len(lines))).astype(int)
    return [lines[at][: 1 + min(5, (len(lines[at]) - 1) // 2)] for at in dict.fromkeys(spread.tolist())]


def _go_on(
    model: "WordLSTM", vocabulary: Vocabulary, ids: list[int], most: int, generator: torch.Generator | None = None
) -> list[int]:
    """Up to `most` more ids, to the line's end: drawn with a generator, the likeliest ones without."""
    read, said = ids, list[int]()
    hidden = None
    for _ in range(most):
        features, hidden = model.features(torch.tensor([read], device=model.noise.device), hidden)
        scores = model.logits(features[0, -1]).float().cpu()  # (V,)
        if vocabulary.unk is not None:
            scores[vocabulary.unk] = -math.inf
        if generator is None:
            word = int(scores.argmax())
        else:
            word = int(torch.multinomial(torch.softmax(scores / TEMPERATURE, 0), 1, generator=generator))
        if word == vocabulary.eos:
            break
        said.append(word)
        read = [word]
    return said


def _shown(vocabulary: Vocabulary, ids: list[int]) -> str:
    return " ".join(vocabulary.shown[i] for i in ids if i != vocabulary.eos)
