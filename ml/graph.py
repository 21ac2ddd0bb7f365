"""What may be in an ONNX file that somebody sends. Knows the file's bytes alone: nothing is loaded or run.

Read with protobuf, which ONNX Runtime brings along, and a description of the few fields looked at; the whole format is
in the package onnx, which what answers requests does without. Field numbers: the ONNX project's onnx.proto, IR 3 to 13.
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from ml.artifact import ArtifactError

DOMAINS = (b"", b"ai.onnx")  # the standard's own operators
MOST_BYTES = 2**31 - 1  # protobuf's own bound

# message -> field -> (number, repeated, message or None for bytes). A number that is not here is skipped on reading.
_FIELDS: dict[str, dict[str, tuple[int, bool, str | None]]] = {
    "Model": {"graph": (7, False, "Graph"), "opset_import": (8, True, "Opset"), "functions": (25, True, "Any")},
    "Opset": {"domain": (1, False, None)},
    "Graph": {
        "node": (1, True, "Node"),
        "initializer": (5, True, "Tensor"),
        "sparse_initializer": (15, True, "Any"),
    },
    "Node": {"op_type": (4, False, None), "attribute": (5, True, "Attribute"), "domain": (7, False, None)},
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


def _make() -> Any:
    """The class of a message `Model`, made of `_FIELDS`."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="inkling/onnx.proto", package="inkling", syntax="proto2")
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, repeated, kind) in fields.items():
            added = described.field.add(name=name, number=number)
            added.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind == "int":
                added.type = field.TYPE_INT32
            elif kind is None:
                added.type = field.TYPE_BYTES
            else:
                added.type, added.type_name = field.TYPE_MESSAGE, f".inkling.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inkling.Model"))


_Model = _make()
