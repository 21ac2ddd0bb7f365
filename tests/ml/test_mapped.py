"""Arrays that stay in their file."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ml.mapped import TYPES, Mapped


@pytest.mark.parametrize("kind", TYPES.values())
def test_they_are_what_was_saved(tmp_path: Path, kind: str) -> None:
    saved = {"a": np.arange(12, dtype=kind).reshape(3, 4), "b": np.array([7], dtype=kind), "c": np.zeros((0, 2), kind)}
    save_file(saved, tmp_path / "x.safetensors")
    mapped = Mapped(tmp_path / "x.safetensors")
    assert sorted(mapped.names) == ["a", "b", "c"]
    for name, array in saved.items():
        assert mapped[name].dtype == array.dtype
        np.testing.assert_array_equal(mapped[name], array, strict=True)
    with pytest.raises(KeyError):
        mapped["d"]


def test_the_file_may_be_deleted_and_nothing_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": np.arange(10_000, dtype=np.float32)}, path)
    mapped = Mapped(path)
    array = mapped["a"]
    path.unlink()
    mapped.forget()
    assert array.sum() == 49_995_000
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize("content", [b"", b"\x10", b"no tensors at all", b"\xff" * 100])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(SafetensorError):
        Mapped(tmp_path / "x.safetensors")
