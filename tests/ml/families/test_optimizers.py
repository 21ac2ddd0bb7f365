"""ml.families.optimizers: torch's numbers to the bit, and nothing of its compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ml.families import optimizers


def trained(
    make: type[torch.optim.Optimizer], fused: bool, resumed: bool = False
) -> tuple[list[torch.Tensor], dict[str, object]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    optimizer = make(net.parameters(), lr=0.01, fused=fused)  # type: ignore[call-arg]
    for step in range(6):
        optimizer.param_groups[0]["lr"] = 0.01 / (1 + step)
        loss = net(torch.full((4, 5), 0.1 * step)).square().sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if resumed:
            said = optimizer.state_dict()
            optimizer = make(net.parameters(), lr=1.0, fused=fused)  # type: ignore[call-arg]
            optimizer.load_state_dict(said)
    return [p.detach() for p in net.parameters()], optimizer.state_dict()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_they_are_torchs_to_the_bit_and_after_a_resume(name: str, fused: bool) -> None:
    theirs, theirs_said = trained(getattr(torch.optim, name), fused)
    for resumed in (False, True):
        ours, said = trained(getattr(optimizers, name), fused, resumed)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert said["param_groups"] == theirs_said["param_groups"]


def test_gradients_may_be_handed_over() -> None:
    theirs, said = trained(torch.optim.Adam, fused=True)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    optimizer = optimizers.Adam(net.parameters(), lr=0.01, fused=True)
    for step in range(6):
        optimizer.param_groups[0]["lr"] = 0.01 / (1 + step)
        loss = net(torch.full((4, 5), 0.1 * step)).square().sum()
        optimizer.step_with(torch.autograd.grad(loss, list(net.parameters())))
        if step == 3:
            kept = optimizer.state_dict()
            optimizer = optimizers.Adam(net.parameters(), lr=1.0, fused=True)
            optimizer.load_state_dict(kept)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), theirs, strict=True))
    ours = optimizer.state_dict()
    assert ours["param_groups"] == said["param_groups"]
    for ours_of, theirs_of in zip(ours["state"].values(), said["state"].values(), strict=True):  # type: ignore[attr-defined]
        assert all(torch.equal(ours_of[name], theirs_of[name]) for name in theirs_of)


def test_a_step_leaves_no_graph_and_tells_its_hooks() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = optimizers.AdamW([parameter])
    seen: list[int] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(1))
    parameter.grad = torch.ones(3)
    optimizer.step()
    assert parameter.is_leaf
    assert parameter.requires_grad
    assert seen == [1]


def test_training_does_not_import_torchs_compiler() -> None:
    code = """
import sys, torch
from ml.families.optimizers import Adam, AdamW
for make in (Adam, AdamW):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = make([parameter])
    optimizer.zero_grad()
    parameter.sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
optimizer = Adam([parameter], fused=True)
optimizer.step_with([torch.ones(3)])
print({"torch._dynamo", "sympy"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "set()"
