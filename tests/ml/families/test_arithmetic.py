"""The quick arithmetic is the same arithmetic, and is chosen where a processor has it."""

from typing import Any
from unittest.mock import Mock

import pytest
import torch

from ml.families import arithmetic
from ml.families.arithmetic import Dropout, autocast, has_bfloat16, to_device

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_its_share(share: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(301, 333, requires_grad=True)
    dropped = Dropout(share)(x)
    dropped.sum().backward()
    out = dropped.detach()
    assert float((out == 0).float().mean()) == pytest.approx(share, abs=0.01)
    assert float(out.mean()) == pytest.approx(1, abs=0.02)
    assert float(out.max()) == pytest.approx(1 / (1 - share), rel=1e-6)
    assert torch.equal(x.grad, out)  # type: ignore[arg-type]


def test_dropout_follows_torchs_generator_and_rests_when_nothing_is_learned() -> None:
    x, drop = torch.ones(50, 7), Dropout(0.5)
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(drop(x))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert drop.eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert drop.train()(x.bfloat16()).dtype == torch.bfloat16


def test_bfloat16_is_used_where_it_is_wanted_and_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def dtype(wanted: bool) -> torch.dtype:
        with autocast(CPU, wanted):
            return torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype

    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert has_bfloat16(CPU) is has
        assert dtype(True) == (torch.bfloat16 if has else torch.float32)
        assert dtype(False) == torch.float32
    assert not has_bfloat16(torch.device("meta"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert has_bfloat16(CUDA)


@pytest.mark.parametrize(("amx", "chosen"), [(False, "bf16"), (True, "none")])
def test_products_stay_exact(amx: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Mock(fp32_precision="none")
    monkeypatch.setattr(torch.backends.mkldnn, "matmul", setting)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    arithmetic.choose_products()
    assert setting.fp32_precision == chosen
    monkeypatch.undo()
    arithmetic.choose_products()
    a, b = torch.randn(64, 300), torch.randn(300, 50)
    assert torch.allclose(a @ b, (a.double() @ b.double()).float(), atol=1e-4)


def test_a_gpu_fetches_from_pinned_memory_while_the_cpu_goes_on() -> None:
    tensor: Any = Mock()
    assert to_device(tensor, CUDA) is tensor.pin_memory().to.return_value
    tensor.pin_memory().to.assert_called_once_with(CUDA, non_blocking=True)
    here = torch.ones(2)
    assert to_device(here, CPU) is here
