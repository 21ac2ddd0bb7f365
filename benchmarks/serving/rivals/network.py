"""The medium model as a torch module, with the weights of the published version: what every rival serves.

Plain PyTorch as a tutorial has it, but no slower than need be: one thread, inference mode, one softmax and one top-k
for a whole batch, the output layer for the last word alone, and the start of a text, which all begin with, read once.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOP = 5
_TOKEN = re.compile(r"\w+|[^\w\s]")


class Network(nn.Module):
    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        n_words, width = weights["embedding.weight"].shape
        hidden = weights["lstm.weight_hh_l0"].shape[1]
        self.embedding = nn.Embedding(n_words, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.project = nn.Linear(hidden, width)
        self.bias = nn.Parameter(torch.zeros(n_words))
        self.load_state_dict(weights)

    def read_start(self, start: int) -> None:
        _, self.state = self.lstm(self.embedding(torch.tensor([[start]])))

    def begun(self, count: int) -> tuple[Tensor, Tensor]:
        """The state behind the start, for so many texts."""
        h, c = self.state
        return h.expand(-1, count, -1).contiguous(), c.expand(-1, count, -1).contiguous()

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits of the word after each context: ids (B, T), right-padded, lengths (B,) -> (B, V)."""
        out, _ = self.lstm(self.embedding(ids), self.begun(len(ids)))
        last = out[torch.arange(len(ids)), lengths - 1]
        return F.linear(self.project(last), self.embedding.weight, self.bias)


class Predictor:
    """Texts in, the five likeliest next words of each out."""

    def __init__(self, folder: Path | None = None) -> None:
        torch.set_num_threads(1)
        folder = folder or Path(os.environ["MODEL"])
        said = json.loads((folder / "words.json").read_text())
        self.words: list[str] = said["words"]
        self.unknown, self.context = said["unknown"], said["context"]
        self.never = torch.tensor(said["never"])
        self.ids = {word: i for i, word in enumerate(self.words)}
        self.network = Network(torch.load(folder / "network.pt")).eval()
        with torch.inference_mode():
            self.network.read_start(said["start"])

    def encode(self, text: str) -> list[int]:
        """The last words of a text, which has at least one."""
        return [self.ids.get(token, self.unknown) for token in _TOKEN.findall(text.lower())][-self.context :]

    @torch.inference_mode()
    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        rows = [self.encode(text) for text in texts]
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = torch.tensor(row)
        probabilities = self.network(ids, lengths).softmax(1)
        probabilities[:, self.never] = 0  # the unknown word, the end of a line
        best, which = probabilities.topk(TOP)
        return [
            {"predictions": [{"word": self.words[i], "probability": p} for i, p in zip(*row, strict=True)]}
            for row in zip(which.tolist(), best.tolist(), strict=True)
        ]
