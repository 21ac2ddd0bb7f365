"""Training state as one safetensors file: tensors as they are, everything else as JSON in the header. Never a pickle.

Must not know: what the state means.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ml import files


def save(path: Path, tree: Any) -> None:
    """Write nested dicts and lists of tensors and JSON values, atomically."""
    tensors: dict[str, torch.Tensor] = {}
    header = json.dumps(_pack(tree, tensors))
    files.write_with(path, lambda temporary: save_file(tensors, temporary, metadata={"tree": header}))


def load(path: Path) -> Any:
    """Read what `save` wrote, on the CPU. Raises SafetensorError for a truncated or foreign file."""
    with safe_open(path, framework="pt", device="cpu") as file:
        metadata = file.metadata()
        if not metadata or "tree" not in metadata:
            raise SafetensorError(f"{path.name} is not a checkpoint")
        return _unpack(json.loads(metadata["tree"]), file)


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()  # a copy: safetensors refuses shared memory
        return {"tensor": name}
    if isinstance(value, dict):  # as pairs, because an optimizer's keys are integers
        return {"dict": [[k, _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(v, tensors) for v in value]}
    return {"value": value}


def _unpack(value: Any, file: Any) -> Any:
    (tag, content), *_ = value.items()
    if tag == "tensor":
        return file.get_tensor(content)
    if tag == "dict":
        return {k: _unpack(v, file) for k, v in content}
    if tag == "list":
        return [_unpack(v, file) for v in content]
    return content
