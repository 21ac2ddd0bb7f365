"""ONNX files that somebody sent: one plain graph of the standard's operators, its weights inside, or refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ml import graph
from ml.artifact import ArtifactError

Build = Callable[[Path], None]


@pytest.fixture
def file(lecture_version: Path, tmp_path: Path) -> Path:
    """A copy of a sound one."""
    return Path(shutil.copy(lecture_version / "next_word.onnx", tmp_path / "next_word.onnx"))


def test_what_is_trained_here_is_plain(lecture_version: Path, pictures_version: Path) -> None:
    for path in (*lecture_version.glob("*.onnx"), *pictures_version.glob("*.onnx")):
        graph.inspect(path)


def external(path: Path) -> None:
    """Weights in ../../x: a file of the machine that loads it."""
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    data = numpy_helper.to_array(tensor).tobytes()
    (path.parents[1] / "x").write_bytes(data)
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../x"), ("offset", "0"), ("length", str(len(data)))):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def external_constant(path: Path) -> None:
    """The same, hidden in a node."""
    tensor = TensorProto(dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../x")
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))
    path.write_bytes(model.SerializeToString())


def merged(path: Path) -> None:
    """The same, in a second piece of the graph: protobuf joins pieces of one field."""
    piece = onnx.ModelProto()
    tensor = piece.graph.initializer.add(data_location=TensorProto.EXTERNAL, name="unused")
    tensor.external_data.add(key="location", value="../../x")
    path.write_bytes(path.read_bytes() + piece.SerializeToString())


def branch(path: Path) -> None:
    """The same, in a branch of an If, which by itself is allowed: torch exports it."""
    tensor = TensorProto(dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL, name="w")
    tensor.external_data.add(key="location", value="../../x")
    out = helper.make_tensor_value_info("w", TensorProto.FLOAT, [4])
    then = helper.make_graph([], "then", [], [out], [tensor])
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("If", ["yes"], ["unused"], then_branch=then, else_branch=then))
    path.write_bytes(model.SerializeToString())


def custom_domain(path: Path) -> None:
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    path.write_bytes(model.SerializeToString())


def custom_node(path: Path) -> None:
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Shell", [], ["unused"], domain="com.example"))
    path.write_bytes(model.SerializeToString())


def loop(path: Path) -> None:
    """A loop that never ends."""
    forever = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"])],
        "forever",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, [])],
    )
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=forever))
    path.write_bytes(model.SerializeToString())


def function(path: Path) -> None:
    model = onnx.load(path)
    model.functions.append(helper.make_function("f", "F", [], [], [], [helper.make_opsetid("", 17)]))
    path.write_bytes(model.SerializeToString())


def sparse(path: Path) -> None:
    model = onnx.load(path)
    model.graph.sparse_initializer.add()
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (external, "another file"),
        (external_constant, "another file"),
        (merged, "another file"),
        (branch, "another file"),
        (custom_domain, "operators of 'com.example'"),
        (custom_node, "operators of 'com.example'"),
        (loop, "'Loop' repeats a graph"),
        (function, "functions"),
        (sparse, "sparse"),
        (lambda path: path.write_bytes(b"\x80\x04no protobuf"), "not an ONNX file"),
        (lambda path: path.write_bytes(b""), "not an ONNX file"),
    ],
)
def test_no_onnx_file_but_a_plain_one(spoil: Build, word: str, file: Path) -> None:
    spoil(file)
    with pytest.raises(ArtifactError, match=word):
        graph.inspect(file)


def test_an_onnx_file_too_large_for_its_format(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_BYTES", 10)
    with pytest.raises(ArtifactError, match="larger than"):
        graph.inspect(file)
