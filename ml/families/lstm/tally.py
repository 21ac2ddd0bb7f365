"""What is measured of next words: likelihood, and how often the right one is among the first."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ml import metrics
from ml.data.text import Vocabulary


class Tally:
    """Adds up log-likelihood and ranks over batches of logits (N, V) and targets (N,)."""

    def __init__(self, vocabulary: Vocabulary, device: torch.device) -> None:
        self.suggested = torch.from_numpy(vocabulary.is_suggestion).to(device)  # (V,)
        self.others = int((~self.suggested).sum())  # few
        self.nll = self.word_nll = 0.0
        self.tokens = self.words = 0
        self.hits = {1: 0, 3: 0, 5: 0}
        self.unk = vocabulary.unk

    def add(self, logits: Tensor, targets: Tensor) -> None:
        true = logits.gather(1, targets[:, None])  # (N, 1)
        nll = F.cross_entropy(logits, targets, reduction="none")  # (N,)
        is_word = self.suggested[targets]
        if self.unk is not None:
            is_word = is_word | (targets == self.unk)  # an unknown word is a word that was missed
        self.nll += float(nll.sum())
        self.word_nll += float(nll[is_word].sum())
        self.tokens += len(targets)
        self.words += int(is_word.sum())
        # Ranks are among what may be suggested; a target that may not be is never found. What is above a word that is
        # found is among so many of the likeliest: a fifth of the time that it takes to look at all words.
        likeliest = logits.topk(min(max(self.hits) + self.others, logits.shape[1]), 1)  # (N, K)
        rank = ((likeliest.values > true) & self.suggested[likeliest.indices]).sum(1)  # 0 is first
        found = is_word & self.suggested[targets]
        for k in self.hits:
            self.hits[k] += int((found & (rank < k)).sum())

    def figures(self) -> dict[str, float]:
        loss, words = self.nll / max(1, self.tokens), max(1, self.words)
        return {
            "loss": loss,
            "perplexity": metrics.perplexity(loss),
            "word_perplexity": metrics.perplexity(self.word_nll / words),
            **{f"top{k}": hits / words for k, hits in self.hits.items()},
        }
