"""The word-level LSTM: the network, the loss over sampled words, and the step that is exported."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml import parallel
from ml.export import export_onnx
from ml.families.arithmetic import Dropout
from ml.families.lstm.config import LSTMConfig

Hidden = tuple[Tensor, Tensor]  # (h, c), each (layers, B, H)


def chance_drawn(noise: Tensor, count: int) -> Tensor:
    """The chance (V,) of each word to be among `count` distinct ones, drawn by `noise` (V,); they sum to `count`.

    Drawing without putting back is a race of the words, each of which arrives after an exponential time of rate
    `noise` (Efraimidis and Spirakis 2006): the chance to have arrived when `count` are expected to.
    """
    rates, low, high = noise.double(), 0.0, 1.0
    while -torch.expm1(-high * rates).sum() < count:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if -torch.expm1(-middle * rates).sum() > count else (middle, high)
    return -torch.expm1(-high * rates).float()


class WordLSTM(nn.Module):
    """Embedding or one-hot -> LSTM -> (projection) -> one logit a word; learned embeddings are tied to the output.

    Tying: Press and Wolf 2017 (arXiv:1608.05859). With `one_hot` it is the lecture's TextLSTM, whose output weights
    start from a standard normal.
    """

    one_hot: Tensor
    noise: Tensor
    log_chance: Tensor

    def __init__(self, config: LSTMConfig, n_words: int) -> None:
        super().__init__()
        assert config.hidden is not None
        assert config.dropout is not None
        assert config.dropout_hidden is not None
        self.n_words, self.is_one_hot = n_words, config.one_hot
        width = n_words if config.one_hot else config.embedding
        assert width is not None
        if config.one_hot:
            # One more row, all zeros: the input where there is no word yet.
            self.register_buffer("one_hot", torch.eye(n_words + 1, n_words), persistent=False)
        else:
            self.embedding = nn.Embedding(n_words, width)
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        between = config.dropout_hidden if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(width, config.hidden, config.layers, dropout=between, batch_first=True)
        if config.one_hot:
            self.weight = nn.Parameter(torch.randn(n_words, config.hidden))
            self.bias = nn.Parameter(torch.randn(n_words))
        else:
            self.project = nn.Linear(config.hidden, width)
            self.bias = nn.Parameter(torch.zeros(n_words))
        self.register_buffer("noise", torch.empty(0), persistent=False)
        self.register_buffer("log_chance", torch.empty(0), persistent=False)
        self.draw_from(torch.full((n_words,), 1 / n_words), 0)
        self.drop = Dropout(config.dropout)
        self.drop_hidden = Dropout(config.dropout_hidden)

    def draw_from(self, noise: Tensor, negatives: int) -> None:
        """Let `loss` look at that many words, drawn by `noise` (V,), which sums to 1; 0 is all of them."""
        self.negatives = negatives if negatives < self.n_words else 0
        self.noise = noise
        self.log_chance = chance_drawn(noise, self.negatives).log() if self.negatives else torch.zeros_like(noise)

    @property
    def output_weight(self) -> Tensor:  # (V, E)
        return self.weight if self.is_one_hot else self.embedding.weight

    def features(self, ids: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """ids (B, T) -> what the output layer reads (B, T, E), and the hidden state after the last token."""
        out, hidden = self.outputs(ids, hidden)
        return self.project_outputs(out), hidden

    def outputs(self, ids: Tensor, hidden: Hidden | None = None) -> tuple[Tensor, Hidden]:
        """ids (B, T) -> what the LSTM says of each (B, T, H), and the hidden state after the last token."""
        x = self.one_hot[ids] if self.is_one_hot else self.embedding(ids)  # (B, T, E)
        x = self.drop(x)
        if self.training and self.lstm.dropout > 0:  # torch's own, between layers
            with parallel.own_random(x.device):
                out, hidden = self.lstm(x, hidden)
        else:
            out, hidden = self.lstm(x, hidden)
        return out, hidden

    def project_outputs(self, out: Tensor) -> Tensor:  # (…, H) -> (…, E), what the output layer reads
        out = self.drop_hidden(out)
        if not self.is_one_hot:
            out = self.project(out)
        heard: Tensor = self.drop(out)
        return heard

    def disturb(self, ids: Tensor, share: float) -> Tensor:
        """Ids (B, T) with `share` of them replaced (Xie et al. 2017, arXiv:1703.02573): it smooths as n-grams are."""
        other = torch.multinomial(self.noise, ids.numel(), replacement=True).view_as(ids)
        return torch.where(torch.rand(ids.shape, device=ids.device) < share, other, ids)

    def logits(self, features: Tensor) -> Tensor:  # (…, E) -> (…, V)
        return F.linear(features, self.output_weight, self.bias)

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of features (N, E) on targets (N,), over all words or over the sampled ones.

        Sampled softmax (Jean et al. 2015, arXiv:1412.2007) with negatives shared by the batch. They are distinct, and
        each logit is corrected by the chance of its word to be among them: drawn with replacement, most of them would
        be the same few words, and those would come out too likely.
        """
        if not self.negatives:
            return F.cross_entropy(self.logits(features), targets)
        sampled = torch.multinomial(self.noise, self.negatives)  # (K,)
        bias = self.bias - self.log_chance  # (V,)
        weight = self.output_weight
        true = (features * weight[targets]).sum(1) + bias[targets]  # (N,)
        noise = F.linear(features, weight[sampled], bias[sampled]).float()  # (N, K)
        noise = noise.masked_fill(sampled == targets[:, None], -1e9)  # a target drawn as its own negative
        return (torch.cat([true[:, None], noise], 1).logsumexp(1) - true).mean()

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits of the word after each context: ids (B, T), right-padded, lengths (B,) -> (B, V)."""
        features, _ = self.features(ids)
        last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, features.shape[2])
        return self.logits(features.gather(1, last).squeeze(1))


class Step(nn.Module):
    """What is exported: ids (B, T), lengths (B,), h and c (layers, B, H) -> logits (B, V), h and c behind the last id.

    The new h and c are those of the rows that have no padding.
    """

    def __init__(self, model: WordLSTM) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, lengths: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out, (h, c) = self.model.outputs(ids, (h, c))
        last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, out.shape[2])
        # The last alone is projected, too: of twenty words that is a fifteenth of the arithmetic.
        return self.model.logits(self.model.project_outputs(out.gather(1, last)[:, 0])), h, c


def export_step(model: WordLSTM, path: Path) -> None:
    state = torch.zeros(model.lstm.num_layers, 2, model.lstm.hidden_size)
    example = (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 2]), state, state)
    axes = ({0: "batch", 1: "time"}, {0: "batch"}, {1: "batch"}, {1: "batch"})
    outputs = {"logits": {0: "batch"}, "h_out": {1: "batch"}, "c_out": {1: "batch"}}
    export_onnx(
        Step(model).eval(), example, path, ["ids", "lengths", "h", "c"], list(outputs), [*axes, *outputs.values()]
    )
