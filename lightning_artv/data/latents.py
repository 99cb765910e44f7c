"""Stored latents: what an autoencoder made of a video's frames, once (`key.safetensors`).

Read by the loader in the place of a video (`lightning_artv.data.shards`); written by
`python -m data_prep latents`. Plain tensors in safetensors: nothing in the file is executed.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from lightning_artv.data.decode import DecodeError
from lightning_artv.data.tar import FilePart
from lightning_artv.errors import UserError

_KINDS: dict[str, tuple[str, int, Any]] = {
    "moments": ("F16", 4, np.float16),
    "timestamps": ("F64", 1, np.float64),
    "size": ("I64", 1, np.int64),
}
"""Name -> how safetensors names the type, axes, how numpy does."""

_HEAD = 4096
"""Bytes that are read first: the header, and the times of clips of up to 470 frames."""
_INFINITE, _SIGN = 0x7C00, 0x8000
"""The bits of an infinite float16, above which are those that are no numbers; the sign's bit."""


def pack(moments: Tensor, timestamps: Sequence[float], size: tuple[int, int]) -> bytes:
    """The file that holds a video's latents.

    Args:
        moments: moments of all frames, `[T, 2C or C, h, w]`; see `Autoencoder.store`.
        timestamps: seconds, ascending, one per frame.
        size: (height, width) in pixels of the frames that were encoded.
    """
    times = torch.tensor(timestamps, dtype=torch.float64)
    tensors = {"moments": moments.half(), "timestamps": times, "size": torch.tensor(size)}
    return save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})


class StoredLatents:
    """The latents of one video; offers what `Video` does. Use as a context manager.

    Of a file's part only the frames that are asked for are read and looked at; of bytes, all.

    Attributes:
        timestamps: seconds since the first frame, ascending, one per frame.
        size: (height, width) in pixels of the frames that were encoded.

    Raises:
        DecodeError: damaged, or something else.
    """

    def __init__(self, source: bytes | FilePart) -> None:
        self._file: BinaryIO = io.BytesIO()
        try:
            if isinstance(source, FilePart):
                self._file = source.path.open("rb", buffering=0)
                self._open(source.offset, source.size)
            else:
                self._file = io.BytesIO(source)
                self._open(0, len(source))
                self.frames(range(len(self.timestamps)))
        except OSError as error:
            raise DecodeError(f"not readable latents ({error.strerror})") from error
        except BaseException:
            self._file.close()
            raise

    def _open(self, begin: int, size: int) -> None:
        head = self._read(begin, min(_HEAD, size))
        length = int.from_bytes(head[:8], "little")
        if size < 8 + length:
            raise DecodeError("not readable latents (no header)")
        text = head[8 : 8 + length] if len(head) >= 8 + length else self._read(begin + 8, length)
        self._begin = begin + 8 + length
        self._arrays = _arrays(text, size - 8 - length)
        self.timestamps = self._whole("timestamps")
        pixels = self._whole("size")
        self.size = (int(pixels[0]), int(pixels[-1]))
        if len(self.timestamps) != self._arrays["moments"].shape[0]:
            raise DecodeError("its timestamps do not belong to its frames")

    def __enter__(self) -> StoredLatents:
        return self

    def __exit__(self, *why: object) -> None:
        self._file.close()

    def frames(self, indices: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
        """Moments float16 `[N, 2C or C, h, w]` of the frames asked for.

        Raises:
            UserError: encoded at another size than `size`.
            DecodeError: they are not finite, or not there any more.
        """
        if size is not None and size != self.size:
            raise UserError(
                f"The stored latents are of frames of {self.size[0]}x{self.size[1]}, but data.size "
                f"is {size[0]}x{size[1]}: set it to the former, or encode the data again."
            )
        stored = self._arrays["moments"]
        known = range(stored.shape[0])
        read = np.empty((len(indices), *stored.shape[1:]), np.float16)
        for index, row in zip(indices, read, strict=True):
            self._read_into(row, self._begin + stored.begin + known[index] * row.nbytes)
        if not _is_finite(read):
            raise DecodeError("its latents are not finite")
        return torch.from_numpy(read)

    def _whole(self, name: str) -> Any:
        """A small array as a list."""
        stored = self._arrays[name]
        values = np.empty(stored.shape, _KINDS[name][2])
        self._read_into(values, self._begin + stored.begin)
        return values.tolist()

    def _read_into(self, values: NDArray[Any], place: int) -> None:
        self._file.seek(place)
        if self._file.readinto(values.data.cast("B")) != values.nbytes:  # type: ignore[attr-defined]
            raise DecodeError("not readable latents (they end early)")

    def _read(self, place: int, count: int) -> bytes:
        self._file.seek(place)
        return self._file.read(count)


def _is_finite(values: NDArray[np.float16]) -> bool:
    """Whether all are; by their bits, twenty times as fast as `isfinite` of float16."""
    if not values.size:
        return True
    positive, negative = values.view(np.int16).max(), values.view(np.uint16).max()
    return bool(positive < _INFINITE and negative < _INFINITE + _SIGN)


class _Array(NamedTuple):
    """Where an array lies after the header."""

    shape: tuple[int, ...]
    begin: int


@lru_cache(maxsize=1024)  # clips of one length have one header
def _arrays(header: bytes, size: int) -> Mapping[str, _Array]:
    """Where the three arrays of stored latents lie in `size` bytes of safetensors' data.

    Raises:
        DecodeError: no safetensors, cut off, or others than these arrays.
    """
    try:
        facts = json.loads(header.decode())
        tensors = {name: fact for name, fact in facts.items() if name != "__metadata__"}
        spans = sorted(tuple(fact["data_offsets"]) for fact in tensors.values())
        begins, ends = zip(*spans, strict=True)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise DecodeError("not readable latents (their header is damaged)") from error
    if (*begins, size) != (0, *ends):
        raise DecodeError("not readable latents (they are not as long as their header says)")
    return {name: _array(name, tensors.get(name)) for name in _KINDS}


def _array(name: str, fact: Any) -> _Array:
    kind, axes, dtype = _KINDS[name]
    try:
        (begin, end), shape, given = fact["data_offsets"], tuple(fact["shape"]), fact["dtype"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, begin))
        fits = whole and end - begin == math.prod(shape) * np.dtype(dtype).itemsize
    except (ValueError, TypeError, KeyError):
        fits = False
    if not fits or given != kind or len(shape) != axes or (name == "size" and 0 in shape):
        raise DecodeError(f"not stored latents: {name} is missing or of another type")
    return _Array(shape, begin)
