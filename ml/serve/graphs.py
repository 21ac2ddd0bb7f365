"""ONNX graphs for a version's weights, made while it is loaded. Knows the format alone, and no file.

A graph says which weights it has, and ONNX Runtime is handed them beside it: written into the graph, they would be
copied four times on their way.

Written with protobuf and a description of the few fields that are used. Field numbers: the ONNX project's onnx.proto,
IR 3 to 13.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.messages import Fields, classes

Numbers = npt.NDArray[np.float32]

OPSET, IR = 17, 8
FLOAT, UINT8, INT8, INT16, INT64 = 1, 2, 3, 5, 7  # TensorProto.DataType
KINDS = {"float32": FLOAT, "uint8": UINT8, "int8": INT8, "int64": INT64}
GRAPH, INT, INTS = 5, 2, 7  # AttributeProto.AttributeType
EXTERNAL = 1  # TensorProto.DataLocation

_FIELDS: dict[str, Fields] = {
    "Model": {"ir_version": (1, False, "int"), "graph": (7, False, "Graph"), "opset_import": (8, True, "Opset")},
    "Opset": {"domain": (1, False, "bytes"), "version": (2, False, "int")},
    "Graph": {
        "node": (1, True, "Node"),
        "name": (2, False, "bytes"),
        "initializer": (5, True, "Tensor"),
        "input": (11, True, "Value"),
        "output": (12, True, "Value"),
    },
    "Node": {
        "input": (1, True, "bytes"),
        "output": (2, True, "bytes"),
        "op_type": (4, False, "bytes"),
        "attribute": (5, True, "Attribute"),
    },
    "Attribute": {
        "name": (1, False, "bytes"),
        "i": (3, False, "int"),
        "g": (6, False, "Graph"),
        "ints": (8, True, "int"),
        "type": (20, False, "int"),
    },
    "Tensor": {
        "dims": (1, True, "int"),
        "data_type": (2, False, "int"),
        "name": (8, False, "bytes"),
        "raw_data": (9, False, "bytes"),
        "external_data": (13, True, "Entry"),
        "data_location": (14, False, "int"),
    },
    "Entry": {"key": (1, False, "bytes"), "value": (2, False, "bytes")},
    "Value": {"name": (1, False, "bytes"), "type": (2, False, "Type")},
    "Type": {"tensor_type": (1, False, "TensorType")},
    "TensorType": {"elem_type": (1, False, "int"), "shape": (2, False, "Shape")},
    "Shape": {"dim": (1, True, "Dim")},
    "Dim": {"dim_value": (1, False, "int"), "dim_param": (2, False, "bytes")},
}

Weights = dict[str, npt.NDArray[Any]]
Made = tuple[bytes, Weights]  # a graph, and the weights that belong to it
Values = Mapping[str, tuple[int, Sequence[int | str]]]  # type and shape; an axis with a name has any length


MIDDLE = 128  # what stands for 0 in an activation of eight bits
LARGEST = 127  # the largest distance from it
# Of a weight. With 64, two products of a weight and an activation fit into the 16 bits in which processors without
# VNNI add them up: 2 * 64 * 255 < 2**15. More would be cut off there, silently.
LARGEST_WEIGHT = 64


def recurrence(weight: Numbers, int8: bool = False) -> Made:
    """An LSTM's steps: ids (B, T), h and c (B, H), and of each word what it adds to the gates, as `table` (V, 4H) of
    int16 (int8 if `int8`) times `scales` (V, 1) -> h_out and c_out (B, H) behind the last id.

    `weight` (4H, H) is what h adds; the gates' order is torch's: input, forget, cell, output. A step is one product,
    with the word's part looked up, and the steps are one operator: nothing returns to Python between them.

    `int8`: the product is one of whole numbers, h in steps of 1 / 127, which is the same for whatever text: h lies
    between -1 and 1. So nothing is rounded differently because of what is read beside it.
    """
    size = weight.shape[1]
    state = (FLOAT, ("B", size))
    model = _model()
    table, scales = (INT8 if int8 else INT16, ("V", 4 * size)), (FLOAT, ("V", 1))
    given: Values = {"ids": (INT64, ("B", "T")), "h": state, "c": state, "table": table, "scales": scales}
    _declare(model.graph, given, {"h_out": state, "c_out": state})
    weights: Weights = {"weight": weight}
    if int8:
        coded, unit = whole_numbers(weight)
        weights = {"weight": coded, "unit": unit / LARGEST}
    _weigh(model.graph, weights)  # inside the step ONNX Runtime would hold it three times
    steps = _node(model.graph, "Scan", ["h", "c", "ids"], "h_out", "c_out", num_scan_inputs=1, scan_input_axes=[1])
    step = steps.attribute.add(name=b"body", type=GRAPH).g
    _declare(step, {"h": state, "c": state, "id": (INT64, ("B",))}, {"h_after": state, "c_after": state})
    _constant(step, "sizes", np.array([size] * 4, dtype=np.int64))
    _node(step, "Gather", ["table", "id"], "coded")
    _node(step, "Cast", ["coded"], "whole", to=FLOAT)
    _node(step, "Gather", ["scales", "id"], "scale")
    _node(step, "Mul", ["whole", "scale"], "word")
    if int8:
        _constant(step, "h_unit", np.float32(1 / LARGEST))
        _multiply(step, "h", "h_unit", "product")
        _node(step, "Add", ["product", "word"], "gates")
    else:
        _node(step, "Gemm", ["h", "weight", "word"], "gates", transB=1)
    _node(step, "Split", ["gates", "sizes"], "input", "forget", "cell", "output", axis=1)
    _node(step, "Sigmoid", ["input"], "let_in")
    _node(step, "Sigmoid", ["forget"], "kept")
    _node(step, "Tanh", ["cell"], "new")
    _node(step, "Sigmoid", ["output"], "let_out")
    _node(step, "Mul", ["kept", "c"], "old_part")
    _node(step, "Mul", ["let_in", "new"], "new_part")
    _node(step, "Add", ["old_part", "new_part"], "c_after")
    _node(step, "Tanh", ["c_after"], "bent")
    _node(step, "Mul", ["let_out", "bent"], "h_after")
    return model.SerializeToString(), weights


def output(project: Numbers, shift: Numbers, words: Numbers, bias: Numbers, int8: bool = False) -> Made:
    """h (B, H) -> rows (B, V), each summing to 1: `project` (E, H), `shift` (E,), then `words` (V, E) and `bias` (V,)
    make the logits, and a softmax the probabilities.

    `int8`: the product with `words` is one of whole numbers, what was heard of each text in steps of its own.
    """
    model = _model()
    graph = model.graph
    _declare(graph, {"h": (FLOAT, ("B", project.shape[1]))}, {"rows": (FLOAT, ("B", len(bias)))})
    weights: Weights = {"project": project, "shift": shift, "bias": bias}
    if int8:
        weights["weight"], weights["unit"] = whole_numbers(words)
    else:
        weights["words"] = words
    _weigh(graph, weights)
    _node(graph, "Gemm", ["h", "project", "shift"], "heard", transB=1)
    if int8:
        for name, value in (("one", 1.0), ("largest", LARGEST), ("least", 1e-30)):
            _constant(graph, name, np.float32(value))
        _node(graph, "Abs", ["heard"], "sizes")
        _node(graph, "ReduceMax", ["sizes"], "most", axes=[1], keepdims=1)
        _node(graph, "Max", ["most", "least"], "range")
        _node(graph, "Div", ["range", "largest"], "step")
        _node(graph, "Div", ["heard", "step"], "steps")
        _multiply(graph, "steps", "one", "product")
        _node(graph, "Mul", ["product", "step"], "scaled")
        _node(graph, "Add", ["scaled", "bias"], "logits")
    else:
        _node(graph, "Gemm", ["heard", "words", "bias"], "logits", transB=1)
    _node(graph, "Softmax", ["logits"], "rows", axis=1)
    return model.SerializeToString(), weights


def whole_numbers(weight: Numbers) -> tuple[npt.NDArray[np.int8], Numbers]:
    """A matrix (N, K) as whole numbers (K, N) and what one is worth in each of the N columns, (N,)."""
    unit = np.maximum(np.abs(weight).max(1), np.float32(1e-30)) / np.float32(LARGEST_WEIGHT)
    return np.ascontiguousarray(np.rint(weight / unit[:, None]).astype(np.int8).T), unit


def _multiply(graph: Any, name: str, unit: str, product: str) -> None:
    """The value `name`, in steps of `unit`, times the weights "weight"; columns are worth "unit"."""
    _constant(graph, "middle", np.uint8(MIDDLE))
    _node(graph, "QuantizeLinear", [name, unit, "middle"], "coded_input")
    _node(graph, "MatMulInteger", ["coded_input", "weight", "middle"], "sums")
    _node(graph, "Cast", ["sums"], "sums_as_floats", to=FLOAT)
    _node(graph, "Mul", ["sums_as_floats", "unit"], product)


# All is written into the message in which it stays: one that is made apart is copied at every level.


def _model() -> Any:
    made = _Model(ir_version=IR)
    made.opset_import.add(domain=b"", version=OPSET)
    return made


def _declare(graph: Any, inputs: Values, outputs: Values) -> None:
    graph.name = b"graph"
    for values, described in ((graph.input, inputs), (graph.output, outputs)):
        for name, (kind, shape) in described.items():
            tensor = values.add(name=name.encode()).type.tensor_type
            tensor.elem_type = kind
            for axis in shape:
                tensor.shape.dim.add(**{"dim_value": axis} if isinstance(axis, int) else {"dim_param": axis.encode()})


def _weigh(graph: Any, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    for name, array in weights.items():
        kind = KINDS[array.dtype.name]
        said = graph.initializer.add(dims=array.shape, data_type=kind, name=name.encode(), data_location=EXTERNAL)
        said.external_data.add(key=b"location", value=b"memory")  # a name is asked for, and never opened


def _constant(graph: Any, name: str, value: npt.NDArray[Any] | np.generic) -> None:
    kind = KINDS[value.dtype.name]
    graph.initializer.add(dims=value.shape, data_type=kind, name=name.encode(), raw_data=value.tobytes())


def _node(graph: Any, operator: str, inputs: Sequence[str], *outputs: str, **attributes: int | list[int]) -> Any:
    node = graph.node.add(op_type=operator.encode())
    node.input.extend(name.encode() for name in inputs)
    node.output.extend(name.encode() for name in outputs)
    for name, value in attributes.items():
        node.attribute.add(
            name=name.encode(), **{"type": INT, "i": value} if isinstance(value, int) else {"type": INTS, "ints": value}
        )
    return node


_Model = classes("inkling.made", _FIELDS)["Model"]
