"""Training state to a file and back, without a pickle."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ml import checkpoint
from tests.ml.tiny import differences


def round_trip(path: Path, tree: Any) -> Any:
    checkpoint.save(path, tree)
    return checkpoint.load(path)


def test_a_tree_comes_back_bit_for_bit(tmp_path: Path) -> None:
    tree = {
        "floats": torch.randn(3, 4),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "scalar": torch.tensor(0.1),
        "empty": torch.zeros(0, 2),
        "nested": {"list": [torch.ones(1), 2, None, "text", True], "none": None, "empty": {}},
        "number": 0.1 + 0.2,
    }
    assert differences(round_trip(tmp_path / "a.safetensors", tree), tree) == []


def test_an_optimizers_integer_keys_stay_integers(tmp_path: Path) -> None:
    loaded = round_trip(tmp_path / "a.safetensors", {"state": {0: {"step": torch.tensor(3.0)}}})
    assert list(loaded["state"]) == [0]


def test_an_optimizer_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def make() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 2)
        return module, torch.optim.AdamW(module.parameters(), lr=0.1, betas=(0.5, 0.9))

    def step(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        module(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    one, optimizer = make()
    step(one, optimizer)
    tree = round_trip(tmp_path / "a.safetensors", {"m": one.state_dict(), "o": optimizer.state_dict()})
    other, resumed = make()
    other.load_state_dict(tree["m"])
    resumed.load_state_dict(tree["o"])
    for pair in ((one, optimizer), (other, resumed)):
        step(*pair)
    assert differences(other.state_dict(), one.state_dict()) == []


def test_shared_and_strided_tensors_can_be_saved(tmp_path: Path) -> None:
    base = torch.arange(6.0).view(2, 3)
    loaded = round_trip(tmp_path / "a.safetensors", {"one": base, "same": base, "turned": base.T})
    assert torch.equal(loaded["turned"], base.T)
    assert torch.equal(loaded["one"], loaded["same"])


def test_a_tree_without_tensors_can_be_saved(tmp_path: Path) -> None:
    assert round_trip(tmp_path / "a.safetensors", {"epoch": 3}) == {"epoch": 3}


def test_what_is_no_value_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path / "a.safetensors", {"what": object()})
    assert list(tmp_path.iterdir()) == []


def test_saving_copies_what_training_goes_on_to_change(tmp_path: Path) -> None:
    weight = torch.ones(2)
    checkpoint.save(tmp_path / "a.safetensors", {"w": weight})
    weight.zero_()
    assert checkpoint.load(tmp_path / "a.safetensors")["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"w": torch.randn(100)})
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(SafetensorError):
        checkpoint.load(path)


def test_weights_alone_are_no_checkpoint(tmp_path: Path) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(SafetensorError, match=r"weights\.safetensors is not a checkpoint"):
        checkpoint.load(tmp_path / "weights.safetensors")


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(SafetensorError):
        checkpoint.load(tmp_path / "a.safetensors")


def test_what_is_written_beside_the_training_is_the_state_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, write = threading.Event(), checkpoint.write
    monkeypatch.setattr(checkpoint, "write", lambda *arguments: let_go.wait(10) and write(*arguments))
    writer, weight = checkpoint.Writer(), torch.ones(3)
    writer.start(tmp_path / "a.safetensors", {"w": weight})
    weight.zero_()  # training goes on
    assert writer.written(wait=False) is None
    let_go.set()
    assert writer.written(wait=True) == tmp_path / "a.safetensors"
    assert writer.written(wait=True) is None
    assert checkpoint.load(tmp_path / "a.safetensors")["w"].tolist() == [1, 1, 1]
    writer.close()


def test_a_write_that_failed_is_raised_when_it_is_asked_for(tmp_path: Path) -> None:
    writer = checkpoint.Writer()
    writer.start(tmp_path / "nowhere" / "a.safetensors", {"w": torch.ones(3)})
    writer.close()
    with pytest.raises((OSError, SafetensorError)):
        writer.written(wait=False)
    assert writer.written(wait=True) is None
