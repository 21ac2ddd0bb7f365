"""The LSTM's config, presets and score. No torch: the API and the page read this."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml.data.store import DatasetInfo
from ml.families.spec import FamilySpec, Preset, Score, Starter
from ml.run import Budget

SHORT_TEXT = 5_000  # words
LARGEST_BATCH = 32 * 32  # words of an update, streams times length
SHORT_LINE = 40  # words, on average
WORDS_A_MINUTE = 600_000  # of training on one core of a server, about, in the starter's shape
# Passes of a text below which what starts from the starter, and knows the language, drops so much of word vectors and
# of the hidden state; with more it learns the text by heart as what starts from nothing does.
DROPOUT_BY_PASSES = {10: (0.2, 0.1), 30: (0.3, 0.2)}
# With more passes than those, and more updates than LONG, the usual rate makes it forget what it knew.
LONG, LONG_RATE = 6_000, 3e-3


class LSTMConfig(BaseModel):
    """A word-level LSTM. What is left empty is chosen from the size of the text."""

    model_config = ConfigDict(extra="forbid")

    one_hot: bool = Field(False, description="Feed one-hot words, as in the lecture, instead of learned embeddings")
    windows: bool = Field(False, description="Learn the last word of every window inside a line, all in one batch")
    context: int = Field(48, ge=1, le=256, description="Words of context used when answering")
    embedding: int | None = Field(None, ge=2, le=2048, description="Size of a word's learned vector")
    hidden: int | None = Field(None, ge=1, le=2048, description="Size of the LSTM's hidden state")
    layers: int = Field(1, ge=1, le=4, description="LSTM layers")
    dropout: float | None = Field(None, ge=0, lt=1, description="Dropout on the words' vectors and on the output")
    dropout_hidden: float | None = Field(
        None, ge=0, lt=1, description="Dropout on the hidden state, between layers too"
    )
    word_noise: float = Field(
        0.0, ge=0, lt=1, description="Share of the words read that are replaced by others, drawn by their frequency"
    )
    min_count: int | None = Field(None, ge=1, le=1000, description="Words said less often become <unk>")
    max_words: int = Field(30_000, ge=2, le=500_000, description="Most words in the vocabulary")
    own_words: bool = Field(
        False, description="Take from a base what it knows of the text's own words, and none of its other words"
    )
    batch_size: int | None = Field(None, ge=1, le=4096, description="Parallel streams of text")
    length: int | None = Field(None, ge=1, le=512, description="Tokens of each stream an update looks at")
    by_line: bool | None = Field(
        None, description="Learn every line by itself, in random order, instead of running text; for short texts"
    )
    forget: float = Field(
        0.05, ge=0, le=1, description="Chance that a stream starts an update without what came before"
    )
    negatives: int | None = Field(None, ge=0, le=65_536, description="Sampled-softmax negatives; 0 is the full softmax")
    ngram_order: int = Field(5, ge=2, le=6, description="Longest n-gram of the text that answers beside the LSTM")
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float | None = Field(None, gt=0, le=1, description="Peak learning rate")
    hold: float = Field(0.2, ge=0, le=1, description="Share of the budget before the learning rate starts to decay")
    decay: bool = Field(True, description="Let the learning rate go to 0 at the end of the budget")
    weight_decay: float = Field(0.01, ge=0, le=1)
    clip: float = Field(1.0, ge=0, description="Largest gradient norm; 0 does not clip")
    evaluations: int = Field(20, ge=1, le=1000, description="Evaluations, spread evenly over the budget")
    patience: int = Field(8, ge=0, description="Evaluations without improvement before stopping early; 0 never stops")

    @model_validator(mode="after")
    def _windows_are_one_hot(self) -> "LSTMConfig":
        if self.windows and not self.one_hot:  # there would be no input for "no word yet"
            raise ValueError("windows needs one_hot")
        return self


def _is_by_line(config: LSTMConfig, words: int, lines: int) -> bool:
    """A short text of short lines has too little running text to learn from: each of its lines counts, alone."""
    if config.by_line is not None:
        return config.by_line
    wants_streams = config.windows or config.batch_size is not None or config.length is not None
    return not wants_streams and words < SHORT_TEXT and lines >= 20 and words <= SHORT_LINE * lines


def within(config: LSTMConfig, info: DatasetInfo, budget: Budget) -> LSTMConfig:
    """How much is dropped where the starter gives what it knows, the less, the fewer passes there are time for; and at
    which rate a long training learns."""
    words = info.counts.get("words", 0)
    limits = [
        budget.epochs,
        None if budget.minutes is None else budget.minutes * WORDS_A_MINUTE / max(1, words),
        None if budget.steps is None else budget.steps * LARGEST_BATCH / max(1, words),
    ]
    passes = min(limit for limit in limits if limit is not None)
    dropped = next((shares for most, shares in DROPOUT_BY_PASSES.items() if passes < most), None)
    if not config.own_words:
        return config
    if dropped is not None:
        chosen = dict(zip(("dropout", "dropout_hidden"), dropped, strict=True))
    else:
        chosen = {"learning_rate": LONG_RATE} if passes * words > LONG * LARGEST_BATCH else {}
    return config.model_copy(update={name: share for name, share in chosen.items() if getattr(config, name) is None})


def resolve(config: LSTMConfig, info: DatasetInfo) -> LSTMConfig:
    """Fill in what was left open from the number of words in the text."""
    words, lines = info.counts.get("words", 0), info.counts.get("lines", 0)
    by_line = _is_by_line(config, words, lines)
    if by_line and words < SHORT_TEXT:
        # Many small updates and wide word vectors: 60 lines said twice are known after 15 epochs.
        chosen = {
            "embedding": 256,
            "hidden": 128,
            "dropout": 0.2,
            "dropout_hidden": 0.2,
            "min_count": 1,
            "learning_rate": 5e-3,
        }
    elif words < 20_000:
        chosen = {
            "embedding": 64,
            "hidden": 128,
            "dropout": 0.4,
            "dropout_hidden": 0.3,
            "min_count": 1,
            "learning_rate": 8e-3,
        }
    elif words < 300_000:
        chosen = {
            "embedding": 128,
            "hidden": 256,
            "dropout": 0.4,
            "dropout_hidden": 0.3,
            "min_count": 2,
            "learning_rate": 6e-3,
        }
    else:
        chosen = {
            "embedding": 160,
            "hidden": 384,
            "dropout": 0.2,
            "dropout_hidden": 0.2,
            "min_count": 3,
            "learning_rate": 4e-3,
        }
    # At least about 20 updates an epoch: a few lines in one large batch would take hundreds of epochs to learn.
    batch_size, length = 32, 32
    while batch_size * length * 20 > words and batch_size * length > 16:
        if batch_size >= length:
            batch_size //= 2
        else:
            length //= 2
    if by_line:
        batch_size = min(32, max(1, lines // 100))
    chosen |= {"batch_size": batch_size, "length": length, "negatives": 0 if words < 20_000 else 512}
    chosen |= {"by_line": by_line}
    wanted = {name: value for name, value in config.model_dump().items() if value is not None}
    return LSTMConfig.model_validate(chosen | wanted)


LECTURE = Preset(
    "The lecture's TextLSTM, exactly: one-hot words, hidden size 5, Adam 0.01, 500 full-batch epochs, two words of "
    "context. Its dropout of 0.3 is left out: in a one-layer LSTM it does nothing but warn.",
    Budget(epochs=500),
    {
        "one_hot": True,
        "windows": True,
        "context": 2,
        "hidden": 5,
        "dropout": 0.0,
        "dropout_hidden": 0.0,
        "min_count": 1,
        "negatives": 0,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "decay": False,
        "weight_decay": 0.0,
        "clip": 0.0,
        "evaluations": 5,
        "patience": 0,
    },
)

LSTM = FamilySpec(
    name="lstm",
    title="Next-word LSTM",
    modality="text",
    Config=LSTMConfig,
    presets={
        "auto": Preset("Size, regularisation and batches chosen from the text.", Budget(epochs=15, minutes=10)),
        "lecture": LECTURE,
        "small": Preset(
            "A small model that learns in a minute or two.",
            Budget(epochs=10, minutes=3),
            {"embedding": 64, "hidden": 128},
        ),
    },
    score=Score("perplexity", higher_is_better=False),
    architecture=("one_hot", "windows", "context", "embedding", "hidden", "layers"),
    resolve=resolve,
    within=within,
    implementation="ml.families.lstm.model:LSTMFamily",
    fine_tuning_rate=0.3,
    starter=Starter("next-word", {"own_words": True}),
)
