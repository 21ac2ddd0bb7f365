"""ml.families.density.chain: what autograd says, and an update of the lesson is what its losses say."""

import copy
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ml.data.builtin import DENSITIES
from ml.families import catalog
from ml.families.density.chain import SLOPE, Chain, chain_of
from ml.families.density.config import DensityConfig
from ml.families.density.model import NumberData


@pytest.mark.parametrize("hidden", [(), (7,), (5, 3, 4)])
def test_its_gradients_are_autograds(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    sizes, layers = (2, *hidden, 3), []
    for given, out in itertools.pairwise(sizes):
        layers += [nn.Linear(given, out), nn.LeakyReLU(SLOPE)]
    body = nn.Sequential(*layers[:-1]).double()
    x = torch.randn(11, 2, dtype=torch.float64, requires_grad=True)
    weighed = torch.randn(11, 3, dtype=torch.float64)
    expected = torch.autograd.grad((body(x) * weighed).sum(), [x, *body.parameters()])
    with torch.no_grad():
        chain = Chain(body)
        out, inputs = chain.forward(x)
        torch.testing.assert_close(out, body(x))
        found = [chain.to_input(inputs, weighed), *chain.backward(inputs, weighed)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_it_is_made_anew_where_the_weights_were_moved() -> None:
    body = nn.Sequential(nn.Linear(2, 3))
    kept = chain_of(body)
    assert chain_of(body) is kept
    body.half()
    assert not kept.in_place()
    x = torch.ones(1, 2, dtype=torch.half)
    torch.testing.assert_close(chain_of(body).forward(x)[0], body(x))


@pytest.mark.parametrize("objective", ["minimax", "non-saturating"])
def test_an_update_is_that_of_the_objective_by_autograd(objective: str, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(4, 0.5, 2000).astype(np.float32)
    data = NumberData({"train": numbers}, DENSITIES["gaussian"])
    config = DensityConfig.model_validate({"objective": objective, "discriminator_steps": 2, "batch_size": 64})
    family = catalog.load("gan-number")
    torch.manual_seed(1)
    state = family.build(config, data, torch.device("cpu"))
    state.progress = 0.2  # behind the warm-up of the rate
    modules = copy.deepcopy(state.modules)
    batch = next(family.batches(data, config, 0, 0, 0))
    torch.manual_seed(2)
    losses = family.train_step(state, config, data, batch)

    torch.manual_seed(2)
    generator, discriminator = modules["generator"], modules["discriminator"]
    g, d = (
        torch.optim.Adam(modules[name].parameters(), rate, (config.beta1, config.beta2))
        for name, rate in (("generator", config.learning_rate), ("discriminator", 5 * config.learning_rate))
    )
    with torch.no_grad():
        drawn = generator(torch.randn_like(batch))
    for real, fake in zip(batch.chunk(2), drawn.chunk(2), strict=True):
        loss_d = -torch.log(torch.sigmoid(discriminator(real))).mean()
        loss_d = loss_d - torch.log(1 - torch.sigmoid(discriminator(fake))).mean()
        d.zero_grad()
        loss_d.backward()
        d.step()
    judged = torch.sigmoid(discriminator(generator(torch.randn_like(real))))
    loss_g = torch.log(1 - judged).mean() if objective == "minimax" else -torch.log(judged).mean()
    g.zero_grad()
    loss_g.backward()
    g.step()

    assert losses["loss_d"].item() == pytest.approx(loss_d.item(), rel=1e-4)
    assert losses["loss_g"].item() == pytest.approx(loss_g.item(), rel=1e-4)
    for name in ("generator", "discriminator"):
        for ours, theirs in zip(state.modules[name].parameters(), modules[name].parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert F.mse_loss(*(module.body[0].weight for module in (state.modules["generator"], generator))) < 1e-8
