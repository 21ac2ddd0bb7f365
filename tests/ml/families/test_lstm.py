"""The LSTM: the lecture's model exactly, and what a larger one learns, measures and refuses."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn, optim

from ml.data import store
from ml.data.builtin import LECTURE_SENTENCES
from ml.data.store import DatasetInfo
from ml.families import catalog
from ml.families.base import State, TrainingError
from ml.families.lstm.config import LSTM, LSTMConfig, resolve
from ml.families.lstm.model import LSTMFamily, TextData
from ml.families.lstm.network import WordLSTM, chance_drawn
from ml.families.optimizers import Adam
from ml.run import Budget
from ml.serve.text import NextWord, Query
from tests.ml import tiny
from tests.ml.tiny import Finished

CPU = torch.device("cpu")
CONTEXTS = ["i like", "i love", "i hate", "you like", "you love", "you hate"]
ANSWERS = ["dog", "coffee", "milk", "cat", "milk", "coffee"]
EPOCHS = 500


def prepared(source: Path, into: Path, preset: str = "auto", **values: Any) -> tuple[LSTMFamily, LSTMConfig, TextData]:
    family = catalog.load("lstm")
    assert isinstance(family, LSTMFamily)
    config = resolve(LSTM.config(preset, values), store.read_info(source))
    into.mkdir(exist_ok=True)
    return family, config, family.prepare(source, config, into)


def built(family: LSTMFamily, config: LSTMConfig, data: TextData, seed: int) -> State:
    torch.manual_seed(seed)
    return family.build(config, data, CPU)


def network(state: State) -> WordLSTM:
    model = state.modules["model"]
    assert isinstance(model, WordLSTM)
    return model


# -- the lecture -----------------------------------------------------------------------------------------------------


class TextLSTM(nn.Module):
    """The lecture's slide as it stands, less the dropout that does nothing in one layer."""

    def __init__(self, n_class: int = 9, n_hidden: int = 5) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size=n_class, hidden_size=n_hidden)
        self.W = nn.Parameter(torch.randn([n_hidden, n_class]))
        self.b = nn.Parameter(torch.randn([n_class]))

    def forward(self, hidden_and_cell: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        outputs, _ = self.lstm(x.transpose(0, 1), hidden_and_cell)
        return torch.mm(outputs[-1], self.W) + self.b


def lecture_costs(model: TextLSTM) -> list[float]:
    """The lecture's own loop from `model`'s weights: the cost of each of its 500 epochs."""
    words = list(dict.fromkeys(" ".join(LECTURE_SENTENCES).split()))
    number = {word: i for i, word in enumerate(words)}
    eye = np.eye(len(words), dtype=np.float32)
    rows = [sentence.split() for sentence in LECTURE_SENTENCES]
    inputs = torch.tensor(np.stack([eye[[number[word] for word in row[:-1]]] for row in rows]))
    targets = torch.tensor([number[row[-1]] for row in rows])
    criterion, optimizer = nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.01)
    costs = []
    for _ in range(EPOCHS):
        hidden, cell = torch.zeros(1, len(rows), 5), torch.zeros(1, len(rows), 5)
        loss = criterion(model((hidden, cell), inputs), targets)
        costs.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return costs


def started_from(ours: WordLSTM) -> TextLSTM:
    theirs = TextLSTM()
    theirs.lstm.load_state_dict(ours.lstm.state_dict())
    with torch.no_grad():
        theirs.W.copy_(ours.weight.T)
        theirs.b.copy_(ours.bias)
    return theirs


@pytest.fixture(scope="module")
def recipe(lecture: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LSTMFamily, LSTMConfig, TextData]:
    return prepared(lecture, tmp_path_factory.mktemp("prepared"), "lecture")


def learn(family: LSTMFamily, config: LSTMConfig, data: TextData, state: State, epochs: int = EPOCHS) -> list[float]:
    costs = []
    for epoch in range(epochs):
        (batch,) = family.batches(data, config, 0, epoch, 0)
        state.losses = family.train_step(state, config, data, batch)
        state.step, state.epoch = state.step + 1, state.epoch + 1
        costs.append(float(state.losses["loss"]))
    return costs


def test_every_seed_learns_all_six_sentences(recipe: tuple[LSTMFamily, LSTMConfig, TextData]) -> None:
    """Six of the fifty that docs/experiments.md tells of."""
    family, config, data = recipe
    words = data.vocabulary.words
    contexts = torch.tensor([[words.index(word) for word in context.split()] for context in CONTEXTS])
    wrong = {}
    for seed in range(6):
        state = built(family, config, data, seed)
        costs = learn(family, config, data, state)
        with torch.no_grad():
            said = network(state).eval()(contexts, torch.full((6,), 2)).argmax(1)
        answers = [words[i] for i in said]
        if answers != ANSWERS or not costs[-1] < 0.05:
            wrong[seed] = answers, costs[-1]
    assert wrong == {}


@pytest.mark.parametrize("seed", [0, 1])
def test_each_epoch_costs_what_the_lectures_own_code_costs(
    seed: int, recipe: tuple[LSTMFamily, LSTMConfig, TextData]
) -> None:
    family, config, data = recipe
    state = built(family, config, data, seed)
    theirs = lecture_costs(started_from(network(state)))
    ours = learn(family, config, data, state)
    assert len(ours) == EPOCHS
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert ours[-1] < 0.05 < 1 < ours[0]


def test_it_has_the_lectures_parameters_and_no_others(recipe: tuple[LSTMFamily, LSTMConfig, TextData]) -> None:
    ours = dict(network(built(*recipe, seed=0)).named_parameters())
    theirs = dict(TextLSTM().named_parameters())
    assert ours.pop("weight").T.shape == theirs.pop("W").shape == (5, 9)
    assert ours.pop("bias").shape == theirs.pop("b").shape == (9,)
    assert {name: p.shape for name, p in ours.items()} == {name: p.shape for name, p in theirs.items()}
    assert ours["lstm.weight_ih_l0"].shape == (4 * 5, 9)


def test_its_output_weights_start_standard_normal_as_on_the_slide(
    recipe: tuple[LSTMFamily, LSTMConfig, TextData],
) -> None:
    models = [network(built(*recipe, seed)) for seed in range(40)]
    for name in ("weight", "bias"):
        values = torch.stack([m.state_dict()[name] for m in models])
        assert abs(float(values.mean())) < 0.15
        assert float(values.std()) == pytest.approx(1, abs=0.1)
    for p in (p for m in models for p in m.lstm.state_dict().values()):
        assert float(p.abs().max()) <= 1 / math.sqrt(5)


def test_it_knows_exactly_nine_words_and_no_unk(lecture_run: Finished) -> None:
    predictor = NextWord.open(lecture_run.run.artifact)
    assert predictor.vocabulary.words == ("i", "like", "dog", "love", "coffee", "hate", "milk", "you", "cat")
    assert predictor.vocabulary.unk is None
    assert predictor.vocabulary.eos is None
    assert predictor.probabilities([[0, 1]]).shape == (1, 9)
    assert lecture_run.manifest.serving["words"] == 9


def test_a_run_tells_the_cost_at_epochs_100_to_500(lecture_run: Finished) -> None:
    points = tiny.events(lecture_run.run, "metrics")
    assert [point["epoch"] for point in points] == [100, 200, 300, 400, 500]
    costs = [point["loss"] for point in points]
    torch.manual_seed(0)
    ours = lecture_run.trainer.family.build(lecture_run.trainer.config, lecture_run.trainer.data, CPU)
    theirs = lecture_costs(started_from(network(ours)))
    np.testing.assert_allclose(costs, [theirs[epoch - 1] for epoch in (100, 200, 300, 400, 500)], atol=1e-5)
    assert costs == sorted(costs, reverse=True)


def test_a_run_ends_right_on_all_six_without_a_split(lecture_run: Finished) -> None:
    predictor = NextWord.open(lecture_run.run.artifact)
    answers = predictor.answer([Query(context) for context in CONTEXTS])
    assert [answer.predictions[0].word for answer in answers] == ANSWERS
    assert [answer.continuation for answer in answers] == ANSWERS
    metrics = lecture_run.manifest.metrics
    assert (metrics["split"], metrics["top1"]) == ("train", 1.0)
    assert lecture_run.manifest.epochs == EPOCHS
    assert lecture_run.manifest.steps == EPOCHS
    assert lecture_run.manifest.parameters == sum(p.numel() for p in TextLSTM().parameters())


def test_before_the_first_epoch_the_cost_is_measured(recipe: tuple[LSTMFamily, LSTMConfig, TextData]) -> None:
    family, config, data = recipe
    state = built(family, config, data, 0)
    measured = family.evaluate(state, config, data, "train")["loss"]
    assert measured == pytest.approx(learn(family, config, data, state, epochs=1)[0], abs=1e-5)


def test_its_learning_rate_never_changes(lecture_run: Finished) -> None:
    optimizer = lecture_run.trainer.state.optimizers["model"]
    assert type(optimizer) is Adam
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.01, 0.0)


def test_its_sample_continues_the_first_sentence(lecture_run: Finished) -> None:
    assert tiny.events(lecture_run.run, "sample")[-1]["text"] == "i like dog"


def test_its_sample_tells_the_answer_to_every_sentence(lecture_run: Finished) -> None:
    answers = tiny.events(lecture_run.run, "sample")[-1]["answers"]
    assert [" ".join((*each["context"], each["word"])) for each in answers] == list(LECTURE_SENTENCES)
    for each in answers:
        assert each["answers"][0] == {"word": each["word"], "probability": each["probability"]}
        assert each["probability"] > 0.9


# -- windows ---------------------------------------------------------------------------------------------------------


def test_windows_lie_inside_lines(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "set", ["a b c d", "e f", "g h i"])
    _, _, data = prepared(source, tmp_path / "p", "lecture")
    said = [" ".join(data.vocabulary.words[i] for i in row) for row in data.splits["train"]]
    assert said == ["a b c", "b c d", "g h i"]
    assert set(data.splits) == {"train"}


def test_lines_too_short_for_the_context_are_refused(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "set", ["a b", "c"])
    with pytest.raises(TrainingError, match="no line has 3 words, which a context of 2 needs"):
        prepared(source, tmp_path / "p", "lecture")


@pytest.mark.parametrize(
    ("lines", "figure"),
    [
        ([" ".join(f"word{i}" for i in range(2_001))], "2,001"),
        (["a b c d"] * 5_001, "10,002"),
    ],
    ids=["words", "windows"],
)
def test_a_text_too_large_for_the_lecture_is_refused_with_advice(tmp_path: Path, lines: list[str], figure: str) -> None:
    source = tiny.write_text(tmp_path / "set", lines)
    with pytest.raises(TrainingError, match=rf"{figure}.*use the preset 'auto'"):
        prepared(source, tmp_path / "p", "lecture")


def test_windows_without_one_hot_words_are_refused() -> None:
    # Such a model would have no input for "no word yet": neither the zero row of one-hot words nor an <eos>.
    with pytest.raises(ValidationError, match="one_hot"):
        LSTM.config("auto", {"windows": True})
    with pytest.raises(ValidationError, match="one_hot"):
        LSTM.config("lecture", {"one_hot": False})
    assert LSTM.config("auto", {"windows": True, "one_hot": True}).windows


# -- larger texts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [[], [""], ["..."], ["one", "one one"]])
def test_a_text_without_two_words_is_refused(tmp_path: Path, lines: list[str]) -> None:
    source = tiny.write_text(tmp_path / "set", lines)
    with pytest.raises(TrainingError, match="fewer than two different words"):
        prepared(source, tmp_path / "p")


def test_a_text_of_two_words_can_be_learned(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "set", ["one two"])
    run = tiny.new_run(tmp_path / "run", "lstm", budget={"steps": 4})
    done = tiny.finish(run, source)
    assert done.manifest.metrics["split"] == "train"
    assert len(NextWord.open(run.artifact).answer([Query("one")])[0].predictions) == 2


def test_held_out_words_are_never_learned_from(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "set", [f"line{i} says word{i}" for i in range(100)])
    _, _, data = prepared(source, tmp_path / "p")
    assert len(data.vocabulary) == 2 + 1 + 2 * 90
    for part in ("validation", "test"):
        unknown = data.splits[part] == data.vocabulary.unk
        assert unknown.sum() == 2 * 5


def test_rare_words_become_unk(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "set", ["a a b", "a b c"])
    _, _, data = prepared(source, tmp_path / "p", min_count=2)
    assert data.vocabulary.words == ("<unk>", "<eos>", "a", "b")


def test_a_one_hot_vocabulary_has_a_limit_too(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "set", [" ".join(f"word{i}" for i in range(2_001))])
    with pytest.raises(TrainingError, match=r"2,000"):
        prepared(source, tmp_path / "p", one_hot=True)


def info(words: int) -> DatasetInfo:
    return tiny.info("text").model_copy(update={"counts": {"words": words}})


@pytest.mark.parametrize("words", [0, 18, 5_000, 20_000, 300_000, 5_000_000])
def test_everything_is_chosen_from_the_texts_size(words: int) -> None:
    config = resolve(LSTMConfig(), info(words))
    assert None not in config.model_dump().values()
    assert config.batch_size is not None
    assert config.length is not None
    # at least 20 updates a pass, unless the text is too short for that
    assert config.batch_size * config.length * 20 <= words or config.batch_size * config.length <= 16


def test_more_text_gets_a_larger_model_and_a_higher_minimum_count() -> None:
    small, middle, large = (resolve(LSTMConfig(), info(words)) for words in (5_000, 100_000, 800_000))
    for name in ("hidden", "embedding", "min_count"):
        assert getattr(small, name) < getattr(middle, name) < getattr(large, name)
    assert small.negatives == 0
    assert large.negatives == 512


@pytest.mark.parametrize(
    ("words", "budget", "dropped"),
    [
        (200_000, Budget(minutes=2), (0.2, 0.1)),
        (200_000, Budget(minutes=5), (0.3, 0.2)),
        (200_000, Budget(minutes=15), (0.4, 0.3)),
        (25_000, Budget(minutes=2), (0.4, 0.3)),
        (25_000, Budget(minutes=2, epochs=5), (0.2, 0.1)),
        (25_000, Budget(steps=500), (0.3, 0.2)),
        (200_000, Budget(), (0.3, 0.2)),  # the preset's fifteen passes
    ],
    ids=str,
)
def test_what_starts_from_a_starter_drops_less_the_fewer_passes(
    words: int, budget: Budget, dropped: tuple[float, float]
) -> None:
    base = {"embedding": 128, "hidden": 384}

    def chosen(**config: Any) -> tuple[float | None, float | None]:
        settled = LSTM.settle("auto", config, info(words), base, budget)
        return settled.dropout, settled.dropout_hidden

    assert chosen(own_words=True) == dropped
    assert chosen(own_words=True, dropout=0.15) == (0.15, dropped[1])
    assert chosen() == (0.4, 0.3)


@pytest.mark.parametrize(
    ("words", "budget", "rate"),
    [
        (200_000, Budget(minutes=15), 0.3 * 3e-3),
        (200_000, Budget(minutes=5), 0.3 * 6e-3),
        (25_000, Budget(minutes=2), 0.3 * 6e-3),  # as many passes, an eighth of the updates
        (25_000, Budget(steps=7_000), 0.3 * 3e-3),
    ],
    ids=str,
)
def test_a_long_training_that_starts_from_a_starter_takes_half_the_rate(
    words: int, budget: Budget, rate: float
) -> None:
    base = {"embedding": 128, "hidden": 384}
    assert LSTM.settle("auto", {"own_words": True}, info(words), base, budget).learning_rate == pytest.approx(rate)
    by_hand = LSTM.settle("auto", {"own_words": True, "learning_rate": 0.01}, info(words), base, budget)
    assert by_hand.learning_rate == 0.01
    from_nothing = LSTM.settle("auto", {}, info(words), None, budget)
    assert from_nothing.learning_rate == 6e-3


def test_what_was_chosen_by_hand_stays(tmp_path: Path) -> None:
    config = resolve(LSTMConfig(hidden=7, negatives=0, dropout=0.0), info(800_000))
    assert (config.hidden, config.negatives, config.dropout) == (7, 0, 0.0)


@pytest.fixture
def plain(sources: dict[str, Path], tmp_path: Path) -> tuple[LSTMFamily, LSTMConfig, TextData, State]:
    """The tiny text with a model of one layer, nothing dropped."""
    values = tiny.CONFIGS["lstm"] | {"layers": 1, "dropout": 0.0, "dropout_hidden": 0.0, "negatives": 0}
    family, config, data = prepared(sources["lstm"], tmp_path / "p", **values)
    return family, config, data, built(family, config, data, 0)


def test_embeddings_are_tied_to_the_output(plain: tuple[LSTMFamily, LSTMConfig, TextData, State]) -> None:
    model = network(plain[3])
    assert model.output_weight is model.embedding.weight
    assert sum(p.shape == (model.n_words, 16) for p in model.parameters()) == 1


def test_padding_on_the_right_is_never_seen(plain: tuple[LSTMFamily, LSTMConfig, TextData, State]) -> None:
    model = network(plain[3]).eval()
    with torch.no_grad():
        alone = model(torch.tensor([[2, 3]]), torch.tensor([2]))
        padded = model(torch.tensor([[2, 3, 9, 9], [5, 6, 7, 8]]), torch.tensor([2, 4]))[:1]
    torch.testing.assert_close(alone, padded)


def test_the_state_is_carried_from_batch_to_batch(plain: tuple[LSTMFamily, LSTMConfig, TextData, State]) -> None:
    family, config, data, state = plain
    config = config.model_copy(update={"forget": 0.0, "learning_rate": None, "decay": False})
    first, second, *_ = family.batches(data, config, 0, 0, 0)
    state.optimizers["model"].param_groups[0]["lr"] = 0.0  # so that only the carried state tells two updates apart
    family.train_step(state, config, data, first)
    h = state.extra["h"].clone()
    state.batch = 1
    carried = family.train_step(state, config, data, second)["loss"]
    model = network(state)
    with torch.no_grad():
        features, _ = model.features(second[0], (h, state.extra["c"] * 0))
        assert not torch.allclose(carried, F.cross_entropy(model.logits(features).flatten(0, 1), second[1].flatten()))
        _, before = model.features(first[0])
        features, _ = model.features(second[0], before)
        expected = F.cross_entropy(model.logits(features).flatten(0, 1), second[1].flatten())
    torch.testing.assert_close(carried, expected)
    state.batch = 0  # a new pass starts from nothing
    fresh = family.train_step(state, config, data, second)["loss"]
    with torch.no_grad():
        features, _ = model.features(second[0])
        expected = F.cross_entropy(model.logits(features).flatten(0, 1), second[1].flatten())
    torch.testing.assert_close(fresh, expected)


def test_gradients_are_clipped(plain: tuple[LSTMFamily, LSTMConfig, TextData, State]) -> None:
    family, config, data, state = plain
    (batch, *_) = family.batches(data, config, 0, 0, 0)
    norms = []
    for clip in (0.0, 1e-3):
        family.train_step(state, config.model_copy(update={"clip": clip}), data, batch)
        norms.append(sum(float(p.grad.square().sum()) for p in network(state).parameters() if p.grad is not None))
    assert math.sqrt(norms[0]) > 1e-2
    assert math.sqrt(norms[1]) == pytest.approx(1e-3, rel=0.01)


def test_the_learning_rate_ends_at_0(plain: tuple[LSTMFamily, LSTMConfig, TextData, State]) -> None:
    family, config, data, state = plain
    (batch, *_) = family.batches(data, config, 0, 0, 0)
    rates = []
    for state.progress in (0.1, 0.6, 1.0):
        family.train_step(state, config, data, batch)
        rates.append(state.optimizers["model"].param_groups[0]["lr"])
    assert rates[0] == config.learning_rate
    assert rates[0] > rates[1] > rates[2] == pytest.approx(0, abs=1e-12)


# -- sampled softmax -------------------------------------------------------------------------------------------------


def test_without_negatives_or_with_all_words_the_loss_is_cross_entropy(
    plain: tuple[LSTMFamily, LSTMConfig, TextData, State],
) -> None:
    model = network(plain[3])
    features, targets = torch.randn(10, 16), torch.randint(0, model.n_words, (10,))
    exact = F.cross_entropy(features @ model.embedding.weight.T + model.bias, targets)
    for negatives in (0, model.n_words, 10_000):
        model.draw_from(model.noise, negatives)
        torch.testing.assert_close(model.loss(features, targets), exact)
    model.draw_from(model.noise, 4)
    assert not torch.allclose(model.loss(features, targets), exact)


def zipf(count: int) -> torch.Tensor:
    """Shares of words, the first the most frequent."""
    said = 1 / torch.arange(1, count + 1)
    return said / said.sum()


def test_the_chance_to_be_drawn_is_that_of_distinct_negatives() -> None:
    noise = zipf(40)
    chance = chance_drawn(noise, 8)
    assert float(chance.sum()) == pytest.approx(8, rel=1e-4)
    drawn = torch.bincount(torch.cat([torch.multinomial(noise, 8) for _ in range(4000)]), minlength=40) / 4000
    torch.testing.assert_close(drawn, chance, rtol=0.15, atol=0)
    assert float(chance_drawn(zipf(5000), 4999).max()) <= 1


def test_sampled_softmax_has_its_minimum_where_the_probabilities_are_right() -> None:
    torch.manual_seed(0)
    model = WordLSTM(LSTMConfig(embedding=4, hidden=4, dropout=0, dropout_hidden=0), 400)
    model.draw_from(zipf(400), 100)
    targets = torch.repeat_interleave(torch.arange(400), (1500 * zipf(400)).round().long())
    said = torch.bincount(targets, minlength=400) / len(targets)
    with torch.no_grad():
        model.bias.copy_(said.clamp_min(1e-6).log())
    for _ in range(150):
        model.loss(torch.zeros(len(targets), 4), targets).backward()
    assert model.bias.grad is not None
    pull = model.bias.grad / 150 / said  # as a share of a word's probability
    assert float(pull[:6].abs().max()) < 0.04  # drawn again and again, the first were .13 too frequent


@torch.no_grad()
def test_a_word_is_never_its_own_negative(plain: tuple[LSTMFamily, LSTMConfig, TextData, State]) -> None:
    torch.manual_seed(0)
    model = network(plain[3])
    model.embedding.weight.zero_()
    noise = torch.full_like(model.noise, 1e-5)
    noise[3] = 1.0
    model.draw_from(noise, 1)  # that is word 3, but for one draw in thousands
    features = torch.randn(6, 16)
    assert float(model.loss(features, torch.full((6,), 3))) == 0.0
    assert float(model.loss(features, torch.full((6,), 4))) > 0.0


def test_negatives_are_drawn_by_how_often_a_word_is_said(sources: dict[str, Path], tmp_path: Path) -> None:
    family, config, data = prepared(sources["lstm"], tmp_path / "p")
    noise = network(built(family, config, data, 0)).noise
    assert float(noise.sum()) == pytest.approx(1)
    often, seldom = data.vocabulary.ids["the"], data.vocabulary.ids["morning"]
    ratio = data.counts[often] / data.counts[seldom]
    assert float(noise[often] / noise[seldom]) == pytest.approx(ratio**0.75, rel=1e-4)
    assert float(noise.min()) > 0


# -- metrics ---------------------------------------------------------------------------------------------------------


def always_saying(state: State, data: TextData, *ranked: str) -> None:
    """Make the model say these words, in this order of likelihood, whatever came before."""
    model = network(state)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        for rank, word in enumerate(ranked):
            model.bias[data.vocabulary.ids[word]] = 50.0 - rank


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(
    plain: tuple[LSTMFamily, LSTMConfig, TextData, State],
) -> None:
    family, config, data, state = plain
    always_saying(state, data)
    for split in ("train", "validation", "test"):
        figures = family.evaluate(state, config, data, split)  # type: ignore[arg-type]
        assert figures["perplexity"] == pytest.approx(len(data.vocabulary), rel=1e-4)
        assert figures["word_perplexity"] == pytest.approx(len(data.vocabulary), rel=1e-4)
        assert figures["loss"] == pytest.approx(math.log(len(data.vocabulary)), rel=1e-4)


def test_ranks_are_those_of_words_among_words(plain: tuple[LSTMFamily, LSTMConfig, TextData, State]) -> None:
    family, config, data, state = plain
    always_saying(state, data, ".", "<eos>", "the", "god", "dog")  # what may not be suggested takes no rank
    figures = family.evaluate(state, config, data, "test")
    targets = [data.vocabulary.words[i] for i in data.splits["test"][1:]]
    words = [word for word in targets if word not in (".", "!", "<eos>")]
    share = {word: words.count(word) / len(words) for word in ("the", "god", "dog")}
    assert share["the"] > 0
    assert figures["top1"] == pytest.approx(share["the"])
    assert figures["top3"] == pytest.approx(sum(share.values()))


def test_an_unknown_word_is_a_word_that_was_missed(tmp_path: Path) -> None:
    source = tiny.write_text(tmp_path / "set", ["say word"] * 90 + [f"say strange{i}" for i in range(200)])
    family, config, data = prepared(source, tmp_path / "p", min_count=2, layers=1, hidden=4)
    state = built(family, config, data, 0)
    always_saying(state, data, "<unk>", "word", "say")
    figures = family.evaluate(state, config, data, "test")
    targets = data.splits["test"][1:]
    words = targets[targets != data.vocabulary.eos]
    assert (words == data.vocabulary.unk).sum() > 5
    assert figures["top1"] == pytest.approx((words == data.vocabulary.ids["word"]).mean())
    assert figures["top5"] == pytest.approx((words != data.vocabulary.unk).mean())


def test_a_sample_ends_with_its_sentence_and_never_says_unk(
    plain: tuple[LSTMFamily, LSTMConfig, TextData, State],
) -> None:
    family, config, data, state = plain
    always_saying(state, data, "<eos>")
    assert family.preview(state, config, data).text == ""
    always_saying(state, data, "<unk>")
    said = (family.preview(state, config, data).text or "").split()
    assert said
    assert "<unk>" not in said
    always_saying(state, data, "god")
    assert family.preview(state, config, data).text == " ".join(["God"] * 20)


def test_a_sample_ends_the_same_unseen_sentences_every_time(
    plain: tuple[LSTMFamily, LSTMConfig, TextData, State],
) -> None:
    family, config, data, state = plain
    before = family.preview(state, config, data).detail["sentences"]
    assert len(before) == 4
    held_out = " ".join(data.vocabulary.shown[i] for i in data.splits["validation"])
    assert all(each["begins"] and each["begins"] in held_out for each in before)
    always_saying(state, data, "god")
    after = family.preview(state, config, data).detail["sentences"]
    assert [each["begins"] for each in after] == [each["begins"] for each in before]
    assert {each["goes_on"] for each in after} == {" ".join(["God"] * 10)}
