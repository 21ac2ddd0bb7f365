"""A trained module as an ONNX file. Must not know: which family it is of."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

OPSET = 17


def export_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    dynamic: Sequence[Mapping[int, str]] = (),
) -> None:
    """Write `module`, in evaluation mode, as one ONNX file; axes named in `dynamic` may vary, of its inputs in order.

    The outputs' follow the inputs'; where `dynamic` ends before them, their first axis varies with the inputs.

    By the tracing exporter: the newer one fixes an LSTM's length to the example's from its second use in a process on,
    and takes 40 times as long. It is marked as deprecated; the contract test would notice its end.
    """
    axes = {name: {0: "batch"} for name in outputs} if dynamic else {}
    axes |= {name: dict(named) for name, named in zip([*inputs, *outputs], dynamic, strict=False)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
        )
