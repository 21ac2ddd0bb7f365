"""Linear layers with leaky rectifiers between them, and their gradients written out.

Two networks of a thousand weights each are learned in calls, not in arithmetic: an update by autograd takes twice as
long (`docs/experiments.md`). Must not know: losses.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky rectifier
_of_rectifier = torch.ops.aten.leaky_relu_backward.default


_made: WeakKeyDictionary[nn.Sequential, "Chain"] = WeakKeyDictionary()


def chain_of(body: nn.Sequential) -> "Chain":
    """The one made before, where `body` still has its weights at the same place."""
    chain = _made.get(body)
    if chain is None or not chain.in_place():
        chain = _made[body] = Chain(body)
    return chain


class Chain:
    """The layers of `body` at this moment: Linear, LeakyReLU(SLOPE), Linear and so on, the last one Linear."""

    def __init__(self, body: nn.Sequential) -> None:
        layers = [layer for layer in body if isinstance(layer, nn.Linear)]
        self.parameters: list[Tensor] = [each for layer in layers for each in (layer.weight, layer.bias)]
        self._layers = [(layer.weight, layer.weight.t(), layer.bias) for layer in layers]

    def in_place(self) -> bool:
        """Whether no weight has been moved since, as to another device."""
        return all(turned.data_ptr() == weight.data_ptr() for weight, turned, _ in self._layers)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Of x (B, first in) the output (B, last out), and what `backward` needs: each layer's input."""
        inputs: list[Tensor] = []
        for _, turned, bias in self._layers:
            if inputs:
                x = F.leaky_relu(x, SLOPE, inplace=True)
            inputs.append(x)
            x = torch.addmm(bias, x, turned)
        return x, inputs

    def backward(self, inputs: Sequence[Tensor], slope: Tensor) -> list[Tensor]:
        """The gradients of the parameters, in their order, where `slope` (B, last out) is the output's."""
        gradients: list[Tensor] = []
        for at in range(len(inputs) - 1, -1, -1):
            gradients[:0] = slope.t() @ inputs[at], slope.sum(0)
            if at:
                slope = self._through(at, inputs[at], slope)
        return gradients

    def to_input(self, inputs: Sequence[Tensor], slope: Tensor) -> Tensor:
        """The gradient of the input, (B, first in), and none of a parameter's."""
        for at in range(len(inputs) - 1, 0, -1):
            slope = self._through(at, inputs[at], slope)
        return slope @ self._layers[0][0]

    def _through(self, at: int, given: Tensor, slope: Tensor) -> Tensor:
        """Of the layer's output before its rectifier, from that of the layer behind it: a rectifier keeps the sign."""
        slope = slope @ self._layers[at][0]
        through: Tensor = _of_rectifier(slope, given, SLOPE, True)
        return through
