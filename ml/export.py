"""A trained module as an ONNX file. Must not know: which family it is of."""

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim


def export_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    dynamic: Sequence[Mapping[int, str]] | None = None,
) -> None:
    """Write `module`, in evaluation mode, as one ONNX file; axes named in `dynamic` may vary when serving."""
    dims = {name: Dim(name) for axes in dynamic or () for name in axes.values()}
    shapes = None if dynamic is None else tuple({axis: dims[name] for axis, name in axes.items()} for axes in dynamic)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports that torchvision is not installed
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            module, example, dynamo=True, dynamic_shapes=shapes, input_names=inputs, output_names=outputs, verbose=False
        )
        assert program is not None
        program.save(path, external_data=False)
