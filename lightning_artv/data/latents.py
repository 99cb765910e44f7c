"""Stored latents: what an autoencoder made of a video's frames, once (`key.safetensors`).

Read by the loader in the place of a video (`lightning_artv.data.shards`); written by
`python -m data_prep latents`. Plain tensors in safetensors: nothing in the file is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lightning_artv.data.decode import DecodeError
from lightning_artv.errors import UserError

_DTYPES = {"moments": torch.float16, "timestamps": torch.float64, "size": torch.int64}
_AXES = {"moments": 4, "timestamps": 1, "size": 1}


def pack(moments: Tensor, timestamps: Sequence[float], size: tuple[int, int]) -> bytes:
    """The file that holds a video's latents.

    Args:
        moments: of all frames, `[T, 2C or C, h, w]`; see `Autoencoder.store`.
        timestamps: seconds, ascending, one a frame.
        size: (height, width) in pixels of the frames that were encoded.
    """
    times = torch.tensor(timestamps, dtype=torch.float64)
    tensors = {"moments": moments.half(), "timestamps": times, "size": torch.tensor(size)}
    return save({name: tensor.contiguous().cpu() for name, tensor in tensors.items()})


class StoredLatents:
    """The latents of one video; offers what `Video` does.

    Attributes:
        timestamps: seconds since the first frame, ascending, one per frame.
        size: (height, width) in pixels of the frames that were encoded.

    Raises:
        DecodeError: damaged, or something else.
    """

    def __init__(self, source: bytes) -> None:
        try:
            tensors = load(source)
        except SafetensorError as error:
            raise DecodeError(f"not readable latents ({error})") from error
        for name, dtype in _DTYPES.items():
            found = tensors.get(name)
            if found is None or found.dtype != dtype or found.ndim != _AXES[name]:
                raise DecodeError(f"not stored latents: {name} is missing or of another type")
        self._moments = tensors["moments"]
        self.timestamps = tensors["timestamps"].tolist()
        self.size = (int(tensors["size"][0]), int(tensors["size"][-1]))
        if len(self.timestamps) != len(self._moments):
            raise DecodeError("its timestamps do not belong to its frames")
        if not bool(torch.isfinite(self._moments).all()):
            raise DecodeError("its latents are not finite")

    def __enter__(self) -> StoredLatents:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def frames(self, indices: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
        """Moments float16 `[N, 2C or C, h, w]` of the frames asked for.

        Raises:
            UserError: encoded at another size than `size`.
        """
        if size is not None and size != self.size:
            raise UserError(
                f"The stored latents are of frames of {self.size[0]}x{self.size[1]}, but data.size "
                f"is {size[0]}x{size[1]}: set it to the former, or encode the data again."
            )
        return self._moments[list(indices)]
