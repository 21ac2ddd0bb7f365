"""What may be in an ONNX file that somebody sends. Knows the file's bytes alone: nothing is loaded or run.

Read with protobuf and a description of the few fields looked at. Field numbers: the ONNX project's onnx.proto, IR 3 to
13.
"""

from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from ml.artifact import ArtifactError
from ml.messages import Fields, classes

DOMAINS = (b"", b"ai.onnx")  # the standard's own operators
MOST_BYTES = 2**31 - 1  # protobuf's own bound

_FIELDS: dict[str, Fields] = {
    "Model": {"graph": (7, False, "Graph"), "opset_import": (8, True, "Opset"), "functions": (25, True, "Any")},
    "Opset": {"domain": (1, False, "bytes")},
    "Graph": {
        "node": (1, True, "Node"),
        "initializer": (5, True, "Tensor"),
        "sparse_initializer": (15, True, "Any"),
    },
    "Node": {"op_type": (4, False, "bytes"), "attribute": (5, True, "Attribute"), "domain": (7, False, "bytes")},
    "Attribute": {
        "t": (5, False, "Tensor"),
        "g": (6, False, "Graph"),
        "tensors": (10, True, "Tensor"),
        "graphs": (11, True, "Any"),
        "sparse_tensor": (22, False, "Any"),
        "sparse_tensors": (23, True, "Any"),
    },
    "Tensor": {"external_data": (13, True, "Any"), "data_location": (14, False, "int")},
    "Any": {},
}


def inspect(path: Path) -> None:
    """Raises ArtifactError unless the file holds a plain graph of the standard's operators, its weights inside.

    Refused: weights in another file, wherever it lies; operators of other makers; functions; operators that repeat a
    graph (Loop, Scan), which no family here exports and which may never end; sparse tensors.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ArtifactError(f"{path.name} is larger than the {MOST_BYTES:,} bytes that ONNX allows")
    model = _Model()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ArtifactError(f"{path.name} is not an ONNX file") from error
    if not model.graph.node:
        raise ArtifactError(f"{path.name} is not an ONNX file: there is no graph in it")
    if model.functions:
        raise ArtifactError(f"{path.name} holds functions, which are not taken in")
    for opset in model.opset_import:
        _standard(path, opset.domain)
    _inspect_graph(path, model.graph)


def _inspect_graph(path: Path, graph: Any) -> None:
    tensors, sparse = list(graph.initializer), len(graph.sparse_initializer)
    for node in graph.node:
        _standard(path, node.domain)
        for attribute in node.attribute:
            tensors += [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
            sparse += attribute.HasField("sparse_tensor") + len(attribute.sparse_tensors)
            if attribute.HasField("g") and node.op_type == b"If":
                _inspect_graph(path, attribute.g)  # protobuf reads no message nested deeper than 100
            elif attribute.HasField("g") or attribute.graphs:
                operator = node.op_type.decode("utf-8", "replace")[:40]
                raise ArtifactError(f"{path.name}: {operator!r} repeats a graph, which is not taken in")
    if any(tensor.external_data or tensor.data_location for tensor in tensors):
        raise ArtifactError(f"{path.name} has weights in another file, which is not taken in")
    if sparse:
        raise ArtifactError(f"{path.name} has sparse weights, which are not taken in")


def _standard(path: Path, domain: bytes) -> None:
    if domain not in DOMAINS:
        shown = domain.decode("utf-8", "replace")[:40]
        raise ArtifactError(
            f"{path.name} uses operators of {shown!r}, and only those of the ONNX standard are taken in"
        )


_Model = classes("inkling.read", _FIELDS)["Model"]
