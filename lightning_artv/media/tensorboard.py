"""Figures as TensorBoard's events."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import singledispatch

from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from lightning_artv.figures import Animation, Figure, Histogram, Picture, Scalar


def write_figures(writer: SummaryWriter, figures: Mapping[str, Figure], step: int = 0) -> None:
    """Write figures, tag -> figure, at an optimiser step."""
    for tag, figure in figures.items():
        _write(figure, writer, tag, step)


@singledispatch
def _write(figure: object, writer: SummaryWriter, tag: str, step: int) -> None:
    raise TypeError(f"{type(figure).__name__} is no figure.")


@_write.register
def _(figure: Scalar, writer: SummaryWriter, tag: str, step: int) -> None:
    writer.add_scalar(tag, figure.value, step)


@_write.register
def _(figure: Histogram, writer: SummaryWriter, tag: str, step: int) -> None:
    writer.add_histogram(tag, figure.values, step)


@_write.register
def _(figure: Picture, writer: SummaryWriter, tag: str, step: int) -> None:
    writer.add_image(tag, figure.pixels, step, dataformats="HWC")


@_write.register
def _(figure: Animation, writer: SummaryWriter, tag: str, step: int) -> None:
    """An image summary, which TensorBoard plays (`add_video` needs moviepy)."""
    with Image.open(io.BytesIO(figure.gif)) as opened:
        width, height = opened.size
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=figure.gif)
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    writer._get_file_writer().add_summary(summary, step)
