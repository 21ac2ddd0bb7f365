"""Torch modules as ONNX files."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from ml.export import export_onnx


class LastOfLSTM(nn.Module):
    """What the text family needs of the exporter: a recurrence over a length that is not known."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x)
        return out[:, -1]


def export(folder: Path) -> tuple[LastOfLSTM, ort.InferenceSession]:
    torch.manual_seed(0)
    module, path = LastOfLSTM().eval(), folder / "last.onnx"
    export_onnx(module, (torch.zeros(2, 3, 2),), path, ["x"], ["last"], ({0: "batch", 1: "time"},))
    return module, ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("time", ["the first", "the second", "the third"])
def test_named_axes_stay_free_however_often_one_process_exports(tmp_path: Path, time: str) -> None:
    module, session = export(tmp_path)
    (x,) = session.get_inputs()
    assert x.shape == ["batch", "time", 2], time
    for batch, length in ((1, 1), (1, 7), (5, 2), (2, 3)):
        given = torch.randn(batch, length, 2)
        (served,) = session.run(None, {"x": given.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(served, module(given).numpy(), atol=1e-5)


def test_without_named_axes_the_shape_is_the_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module, path = nn.Linear(4, 2).eval(), tmp_path / "linear.onnx"
    export_onnx(module, (torch.zeros(1, 4),), path, ["z"], ["out"])
    assert [file.name for file in tmp_path.iterdir()] == ["linear.onnx"]  # the weights are inside
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("z", [1, 4])]
    assert [o.name for o in session.get_outputs()] == ["out"]
    z = np.ones((1, 4), np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"z": z})[0], module(torch.from_numpy(z)).numpy(), atol=1e-6)
    assert capsys.readouterr().out == ""
