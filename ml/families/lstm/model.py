"""The word-level LSTM: network, update, metrics and export."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ml import metrics, parallel
from ml.data import corpus, learned, store, text
from ml.data.text import Vocabulary
from ml.export import export_onnx
from ml.families.arithmetic import Dropout, autocast, to_device
from ml.families.base import Family, Preview, Split, State, TrainingError, load_weights, read_weights
from ml.families.lstm import answering, sampling, warm_start
from ml.families.lstm.config import LSTMConfig
from ml.families.lstm.tally import Tally
from ml.families.lstm.warm_start import carry_weights, extend_vocabulary, fingerprint, read_vocabulary
from ml.families.schedule import hold_then_decay
from ml.mixture import NGRAM, SOURCES, Mixture

Hidden = tuple[Tensor, Tensor]  # (h, c), each (layers, B, H)
MOST_ONE_HOT_WORDS = 2_000
LEAST_BFLOAT16 = 256  # hidden size from which on products are what an update's time goes into
MOST_WINDOWS = 10_000
MOST_BY_LINE = 2_000_000
MOST_TOKENS = {"validation": 10_000, "test": 500_000, "train": 500_000}  # looked at by an evaluation


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


@dataclass(frozen=True)
class TextData:
    """`splits` are token streams (N,), or, for windows, context and target side by side (N, context + 1)."""

    vocabulary: Vocabulary
    splits: dict[str, npt.NDArray[np.int32]]
    sources: Path | None = None  # the lines of the training part, see ml.data.sources

    @property
    def counts(self) -> npt.NDArray[np.int64]:  # (V,)
        return corpus.count_ids(self.splits["train"], len(self.vocabulary))


class LSTMFamily(Family[LSTMConfig, TextData]):
    """Next-word prediction by an LSTM (Hochreiter and Schmidhuber 1997)."""

    shares = True

    def prepare(self, source: Path, config: LSTMConfig, into: Path, base: Path | None = None) -> TextData:
        known, more = None if base is None else read_vocabulary(base), learned.lines(into)
        if config.windows:
            data = _windows(chain(store.read_lines(source), more), config, known)
            data.vocabulary.save(into / "vocabulary.json")
            np.save(into / "train.npy", data.splits["train"])
            return data
        vocabulary = corpus.learn_vocabulary(source, config.min_count or 1, config.max_words, more)
        if len(vocabulary) < 4:
            raise TrainingError("the text has fewer than two different words; give it more text")
        if known is not None and not config.own_words:
            vocabulary = extend_vocabulary(known, vocabulary, config.max_words)
        if config.one_hot and len(vocabulary) > MOST_ONE_HOT_WORDS:
            raise TrainingError(
                f"one-hot words are for at most {MOST_ONE_HOT_WORDS:,} different ones, and this text has "
                f"{len(vocabulary):,}; leave one_hot out, or set max_words"
            )
        corpus.encode(source, vocabulary, into, more)
        corpus.keep_lines(source, into / SOURCES)
        data = self.load(into)
        if config.by_line and len(data.splits["train"]) > MOST_BY_LINE:
            raise TrainingError(f"by_line is for texts of at most {MOST_BY_LINE:,} words, and this one has more")
        return data

    def load(self, prepared: Path) -> TextData:
        sources = prepared / SOURCES
        return TextData(*corpus.load(prepared), sources if sources.exists() else None)

    def build(self, config: LSTMConfig, data: TextData, device: torch.device) -> State:
        model = WordLSTM(config, len(data.vocabulary)).to(device)
        flat = torch.from_numpy(data.counts.astype(np.float32)).clamp_min(1).pow(0.75)
        model.draw_from((flat / flat.sum()).to(device), config.negatives or 0)
        make = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        rate = config.learning_rate or 1e-3
        optimizer = make(model.parameters(), lr=rate, weight_decay=config.weight_decay, fused=True)
        return State({"model": model}, {"model": optimizer}, device)

    def start_from(self, state: State, data: TextData, base: Path) -> None:
        model, known = _model(state), read_vocabulary(base)
        load_weights(model, carry_weights(read_weights(base), known, data.vocabulary, model.is_one_hot))

    def fits(self, config: LSTMConfig, source: Path, base: Path) -> str | None:
        return warm_start.fits(config, source, base)

    def steps_per_epoch(self, data: TextData, config: LSTMConfig) -> int:
        if config.windows:
            return 1
        if config.by_line:
            return -(-len(text.line_starts(data.splits["train"], data.vocabulary.eos)) // (config.batch_size or 1))
        return text.batches_per_epoch(len(data.splits["train"]), *_shape(data, config))

    def batches(self, data: TextData, config: LSTMConfig, seed: int, epoch: int, start: int) -> Iterator[Any]:
        if config.windows:
            rows = torch.from_numpy(data.splits["train"].astype(np.int64))
            yield rows[:, :-1], rows[:, -1]
            return
        if config.by_line:
            ids, order = data.splits["train"], np.random.default_rng((seed, epoch))
            for x, y in text.line_batches(ids, data.vocabulary.eos, config.batch_size or 1, order, start):
                yield torch.from_numpy(x), torch.from_numpy(y)
            return
        batch_size, length = _shape(data, config)
        for x, y in text.stream_batches(data.splits["train"], batch_size, length, start):
            yield torch.from_numpy(x), torch.from_numpy(y)

    def train_step(self, state: State, config: LSTMConfig, data: TextData, batch: Any) -> dict[str, Tensor]:
        model, optimizer = _model(state), state.optimizers["model"]
        if config.decay and config.learning_rate:
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * hold_then_decay(state.progress, config.hold)
        model.train()
        x, y = (to_device(part, state.device) for part in batch)
        if config.word_noise:
            x = model.disturb(x, config.word_noise)
        words = int((y >= 0).sum()) if config.by_line else y.numel()
        x, y = parallel.mine(x), parallel.mine(y)
        share = parallel.weight(int((y >= 0).sum()) if config.by_line else y.numel(), words)
        if config.windows:
            loss = F.cross_entropy(model(x, torch.full((len(x),), x.shape[1], device=x.device)), y)
        elif config.by_line:
            features, _ = model.features(x)
            loss = model.loss(features[y >= 0], y[y >= 0])
        else:
            carried = None
            if state.batch > 0:
                # Some streams start from nothing: that is how every question is answered.
                h, c = (parallel.mine(state.extra[name], 1) for name in "hc")
                kept = parallel.each(lambda rows: torch.rand(1, rows, 1, device=state.device), len(x), 1)
                kept = (kept >= config.forget).float()
                carried = (h * kept, c * kept)
            with autocast(state.device, model.lstm.hidden_size >= LEAST_BFLOAT16):
                features, (h, c) = model.features(x, carried)
                loss = model.loss(features.flatten(0, 1), y.flatten())
            state.extra = {"h": parallel.whole(h.detach().float(), 1), "c": parallel.whole(c.detach().float(), 1)}
        loss = loss * share
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        parallel.add_up([*gradients, loss, *state.extra.values()])
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        return {"loss": loss}

    @torch.no_grad()
    def evaluate(self, state: State, config: LSTMConfig, data: TextData, split: Split) -> dict[str, float]:
        model = _model(state).eval()
        if isinstance(state.fitted, Mixture):
            return answering.figures(model, state.fitted, config, data, split)
        if config.windows:
            x, y = next(iter(self.batches(data, config, 0, 0, 0)))
            logits = model(x.to(state.device), torch.full((len(x),), x.shape[1], device=state.device))
            tally = Tally(data.vocabulary, state.device)
            tally.add(logits, y.to(state.device))
            figures = tally.figures()
            if "loss" in state.losses:  # the lecture prints the cost of an epoch before its update
                figures["loss"] = float(state.losses["loss"])
                figures["perplexity"] = metrics.perplexity(figures["loss"])
            return figures
        ids = data.splits[split][: MOST_TOKENS[split]]
        tally = Tally(data.vocabulary, state.device)
        if config.by_line:
            for x_ids, y_ids in text.line_batches(ids, data.vocabulary.eos, 16, np.random.default_rng(0)):
                x, y = torch.from_numpy(x_ids).to(state.device), torch.from_numpy(y_ids).to(state.device)
                features, _ = model.features(x)
                tally.add(model.logits(features[y >= 0]), y[y >= 0])
            return tally.figures()
        hidden: Hidden | None = None
        rows = max(1, min(16, len(ids) // 64))
        for x_ids, y_ids in text.stream_batches(ids, rows, 64):
            features, hidden = model.features(torch.from_numpy(x_ids).to(state.device), hidden)
            tally.add(model.logits(features.flatten(0, 1)), torch.from_numpy(y_ids).flatten().to(state.device))
        return tally.figures()

    def finishing_seconds(self, config: LSTMConfig, data: TextData, evaluation: float) -> float:
        if config.windows:
            return super().finishing_seconds(config, data, evaluation)
        scored = min(answering.MOST_SCORED, len(data.splits.get("test", data.splits["train"])))
        return evaluation + answering.SECONDS * scored

    def finish(self, state: State, config: LSTMConfig, data: TextData) -> None:
        """Count the n-gram and weigh it against the network. The lecture's model answers alone."""
        if not config.windows:
            state.fitted = answering.fit(_model(state).eval(), config, data)

    @torch.no_grad()
    def preview(self, state: State, config: LSTMConfig, data: TextData) -> Preview:
        model = _model(state).eval()
        return sampling.answers(model, data) if config.windows else sampling.sentences(model, data)

    def has_held_out(self, data: TextData) -> bool:
        return len(data.splits.get("validation", ())) > 1 and len(data.splits.get("test", ())) > 1

    def scored_on(self, config: LSTMConfig, data: TextData) -> str:
        """A smaller vocabulary leaves less to predict, and a line alone tells less than running text.

        The most frequent words of a text are told by their number.
        """
        words = f"{len(data.vocabulary)} words{', line by line' if config.by_line else ''}"
        words += "" if config.windows else ", with n-gram and cache"
        if data.vocabulary.unk is None or (np.diff(data.counts[2:]) <= 0).all():
            return words
        return f"{words}, {fingerprint(data.vocabulary)}"  # a base's

    def export(self, state: State, config: LSTMConfig, data: TextData, into: Path) -> dict[str, Any]:
        model = _model(state).cpu().eval()
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, into / "weights.safetensors"
        )
        data.vocabulary.save(into / "vocabulary.json")
        export_step(model, into / "next_word.onnx")
        # Where there is no <eos> to start from, the id behind the last word is the zero vector.
        start = data.vocabulary.eos if data.vocabulary.eos is not None else len(data.vocabulary)
        serving: dict[str, Any] = {"words": len(data.vocabulary), "context": config.context, "start": start}
        if isinstance(state.fitted, Mixture):
            state.fitted.ngram.save(into / NGRAM)
            serving["mixture"] = {"weights": state.fitted.weights.tolist()}
            if data.sources is not None:
                shutil.copyfile(data.sources, into / SOURCES)
        return serving


def _model(state: State) -> WordLSTM:
    model = state.modules["model"]
    assert isinstance(model, WordLSTM)
    return model


def _shape(data: TextData, config: LSTMConfig) -> tuple[int, int]:
    """(batch size, length), the batch no larger than the text allows."""
    assert config.batch_size is not None
    assert config.length is not None
    return max(1, min(config.batch_size, (len(data.splits["train"]) - 1) // 2)), config.length


def _windows(lines: Iterable[str], config: LSTMConfig, known: Vocabulary | None) -> TextData:
    words: dict[str, int] = {} if known is None else dict(known.ids)
    rows: list[list[int]] = []
    width = config.context + 1
    for line in lines:
        ids = [words.setdefault(text.key(token), len(words)) for token in text.tokenize(line)]
        rows += [ids[at : at + width] for at in range(len(ids) - width + 1)]
        if len(rows) > 10 * MOST_WINDOWS:  # far too large: how much too large need not be known
            break
    if not rows:
        raise TrainingError(f"no line has {width} words, which a context of {config.context} needs")
    if len(words) > MOST_ONE_HOT_WORDS or len(rows) > MOST_WINDOWS:
        raise TrainingError(
            f"the lecture's recipe learns all of a text in one batch of one-hot words: at most {MOST_ONE_HOT_WORDS:,} "
            f"different words and {MOST_WINDOWS:,} windows, and this text has at least {len(words):,} and "
            f"{len(rows):,}; use the preset 'auto'"
        )
    vocabulary = Vocabulary(tuple(words), tuple(words))
    if known is not None:
        vocabulary = extend_vocabulary(known, vocabulary, len(words))
    return TextData(vocabulary, {"train": np.array(rows, dtype=np.int32)})
