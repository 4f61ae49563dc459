"""Files that ``torch.save`` wrote, without torch.

Such a file is a zip archive with a pickle, ``{name}/data.pkl``, and the tensors' numbers in
``{name}/data/{key}`` (github.com/pytorch/pytorch, ``torch/serialization.py``). Members must be
stored uncompressed, as ``torch.save`` stores them: nothing is then larger than the file itself.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from forkpoint.parsers.logs import MAX_DOCUMENT_BYTES
from forkpoint.parsers.plain_pickle import Refused, Storage, Tensor

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What files begin with that are no archives, as ``torch.save`` wrote them before torch 1.6."""

_DAMAGED = (
    zipfile.BadZipFile,
    ValueError,
    EOFError,
    KeyError,
    OverflowError,
    RuntimeError,
    struct.error,
)
"""What `zipfile` raises on archives that are cut short, damaged or encrypted."""


class TorchFile:
    """A file of ``torch.save``, open for reading.

    Raises:
        Refused: it is no such file.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._n_bytes = path.stat().st_size
        try:
            self._archive = zipfile.ZipFile(path)
        except _DAMAGED as error:
            raise Refused(f"not a whole zip archive: {error}") from error
        self._members = {info.filename: info for info in self._archive.infolist()}
        found = [name for name in self._members if name.endswith("/data.pkl")]
        if len(found) != 1:
            self._archive.close()
            raise Refused(f"{len(found)} members named data.pkl where one should be")
        self._folder = found[0].removesuffix("data.pkl")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def pickle(self) -> bytes:
        """The bytes of ``data.pkl``. Raises Refused, OSError: they cannot be read."""
        return self._member("data.pkl")

    def array(self, tensor: Tensor) -> npt.NDArray[Any]:
        """A tensor that has at most one dimension of more than one element, as a flat array.

        Raises:
            Refused: it has more, or lies outside of its storage.
            OSError: it cannot be read.
        """
        wide = [pair for pair in zip(tensor.shape, tensor.stride, strict=True) if pair[0] != 1] or [
            (1, 1)
        ]
        if len(wide) > 1:
            raise Refused(f"a tensor of {len(tensor.shape)} dimensions where a list should be")
        ((size, stride),) = wide
        storage = self._storage(tensor.storage)
        end = tensor.offset + (size - 1) * stride + 1 if size else tensor.offset
        if end > len(storage) or (size > 1 and stride < 1):
            raise Refused("a tensor that lies outside of its storage")
        return storage[tensor.offset : end : max(stride, 1)]

    def _storage(self, storage: Storage) -> npt.NDArray[Any]:
        data = self._member(f"data/{storage.key}")
        order = ">" if self._is_big_endian() else "<"
        kind = np.dtype(f"{order}{'u2' if storage.dtype == 'bf16' else storage.dtype}")
        if len(data) // kind.itemsize < storage.n_elements:
            raise Refused(f"{len(data)} bytes for {storage.n_elements} numbers of a tensor")
        values = np.frombuffer(data, dtype=kind, count=storage.n_elements)
        if storage.dtype == "bf16":  # the upper half of a 32-bit float
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values

    def _is_big_endian(self) -> bool:
        name = "byteorder"
        return self._folder + name in self._members and self._member(name) == b"big"

    def _member(self, name: str) -> bytes:
        info = self._members.get(self._folder + name)
        if info is None:
            raise Refused(f"the archive has no member {name!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise Refused(f"the member {name!r} is compressed or encrypted")
        if info.file_size > min(self._n_bytes, MAX_DOCUMENT_BYTES):
            raise Refused(f"the member {name!r} is too large")
        try:
            return self._archive.read(info)
        except _DAMAGED as error:
            raise Refused(f"the member {name!r} is damaged: {error}") from error
