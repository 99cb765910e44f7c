"""The windows of the data are those that the system understands."""

from __future__ import annotations

from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.errors import UserError
from lightning_artv.systems.base import Trainable


def choose_windows(data: object, system: Trainable) -> None:
    """Give a data module the system's own windows where it names none.

    Raises:
        UserError: it names windows that the system does not understand.
    """
    if not isinstance(data, VideoDataModule):
        return  # what else makes batches answers for them
    own = system.windows
    if data.windows is None:
        data.use(own())
    elif not isinstance(data.windows, own):
        named, kind = type(data.windows).__name__, type(system).__name__
        raise UserError(
            f"data.windows is {named}, which {kind} does not understand: set "
            f"data.windows.class_path to {own.__module__}.{own.__qualname__}."
        )
