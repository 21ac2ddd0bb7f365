"""Classes of protobuf messages from a description of the fields that matter: what `protoc` would make of a file.

Protobuf comes with ONNX Runtime; the whole format of ONNX is in the package onnx, which what answers requests does
without. Must not know: what the messages are about.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# field -> (number, repeated, "bytes", "int", or the message it holds). A number that is not here is skipped on reading.
Fields = Mapping[str, tuple[int, bool, str]]


def classes(package: str, messages: Mapping[str, Fields]) -> dict[str, Any]:
    """A class for each message by its name; `package` must be no other's."""
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {"bytes": field.TYPE_BYTES, "int": field.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    for message, fields in messages.items():
        described = file.message_type.add(name=message)
        for name, (number, repeated, kind) in fields.items():
            added = described.field.add(name=name, number=number)
            added.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            added.type = kinds.get(kind, field.TYPE_MESSAGE)
            if kind not in kinds:
                added.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}
