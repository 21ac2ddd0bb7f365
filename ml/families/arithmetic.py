"""The arithmetic that a processor is quick at. Must not know: networks, or whether they can bear it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml import parallel

GRAINS = 1 << 16  # a share is kept to one in so many


def choose_products() -> None:
    """Have products of 32-bit matrices computed by oneDNN where it does so in 32 bits and with AVX-512.

    MKL, the default, leaves AVX-512 to Intel's own processors: elsewhere it takes twice as long. On those with AMX the
    same setting would mean fewer bits, so they keep MKL.
    """
    if torch.cpu._is_avx512_supported() and not torch.cpu._is_amx_tile_supported():
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 itself: a CPU that only imitates it takes many times as long."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def autocast(device: torch.device, wanted: bool) -> torch.autocast:
    """Products in bfloat16, added up in 32 bits, where the device has that and they are `wanted`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and has_bfloat16(device))


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; a GPU fetches it by itself while the CPU goes on."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Dropout(nn.Module):
    """Sets `share` of the values to 0 and enlarges the rest, as torch's own does in four times as long on a CPU.

    Which ones comes from torch's generator: a quarter of a 64-bit number for each value.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return x
        if x.device.type != "cpu":
            with parallel.own_random(x.device):
                return F.dropout(x, self.share)
        drawn = parallel.each(lambda rows: _quarters(rows, x.shape[1:].numel()), len(x)).view(x.shape)
        kept = drawn >= round(self.share * GRAINS) - GRAINS // 2
        return x * kept.to(x.dtype).mul_(1 / (1 - self.share))


def _quarters(rows: int, size: int) -> Tensor:
    """Random 16 bits each: (rows, size)."""
    drawn = torch.empty(-(-rows * size // 4), dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
    return drawn.view(torch.int16)[: rows * size].view(rows, size)
