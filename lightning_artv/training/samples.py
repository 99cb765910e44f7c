"""Clips generated during training, and the mask while they are made, in TensorBoard."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from lightning_artv.batch import VideoBatch
from lightning_artv.checkpoints.sharding import has_shards
from lightning_artv.data.captions import BadCaption, caption_of
from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.data.decode import DecodeError
from lightning_artv.data.shards import open_frames
from lightning_artv.data.tar import RawSample, expand, read_shard
from lightning_artv.data.timeline import timeline
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.media import gif_bytes, grid
from lightning_artv.systems.base import Segment, VideoSystem
from lightning_artv.training.ema import find_ema
from lightning_artv.training.mask_record import MaskRecord
from lightning_artv.training.module import VideoModule


@dataclass(frozen=True)
class HeldOutClips:
    """Whole clips to generate after.

    Attributes:
        frames: uint8 pixels `[N, T, 3, H, W]`, or stored latents.
        captions: one a clip.
    """

    frames: Tensor
    captions: tuple[str, ...]

    def pixels(self, system: VideoSystem) -> Tensor:
        """uint8 `[N, T, 3, H, W]`."""
        flat = self.frames.flatten(0, 1).to(next(system.parameters()).device)
        return system.pixels(flat).cpu().unflatten(0, self.frames.shape[:2])


@dataclass(frozen=True)
class _Made:
    """One round of clips, uint8 `[N, T, 3, H, W]` on the CPU, and the masks of making them."""

    truth: Tensor | None
    held_out: Tensor | None
    prompted: Tensor | None
    masks: MaskRecord


class SampleLogger(Callback):
    """Every so many steps, generates clips from held-out first frames and captions, and from text.

    Writes to TensorBoard, under the averaged weights where the EMA callback is on and with the same
    noise every time: `samples/held_out` (truth above, generated below) and `samples/prompts` as
    animated pictures; by denoising step the scalars `mask/mean/*`, the histograms `mask/values/*`
    and the picture `mask/fig4` (Fig. 4); mask pictures `mask/fig9` (Fig. 9).

    Args:
        every_n_steps: optimiser steps between two rounds.
        clips: held-out clips of the validation shards; 0 for none.
        frames: of each generated clip, the first frame included.
        prompts: captions to generate from alone.
        steps: denoising steps a frame; None for the system's own.
        seed: of the noise.
        scale: pixels are shown this many times larger.
    """

    def __init__(
        self,
        every_n_steps: int = 1000,
        clips: int = 4,
        frames: int = 16,
        prompts: Sequence[str] = (),
        steps: int | None = None,
        seed: int = 0,
        scale: int = 1,
    ) -> None:
        self.every_n_steps = max(1, every_n_steps)
        self.clips = clips
        self.frames = frames
        self.prompts = tuple(prompts)
        self.steps = steps
        self.seed = seed
        self.scale = scale
        self._held_out: HeldOutClips | None = None
        self._fps = 8.0
        self._last_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, VideoDataModule):
            return
        self._fps = data.fps or self._fps
        if self.clips and data.val_shards is not None:
            self._held_out = held_out_clips(data, self.clips, self.frames)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        if step == self._last_step or step % self.every_n_steps:
            return  # gradients are still accumulating, or it is not yet time
        self._last_step = step
        assert isinstance(pl_module, VideoModule)
        writer = summary_writer(trainer) if trainer.is_global_zero else None
        # a rank that does not compute keeps its shards from the others: all generate the same
        if writer is None and not has_shards(pl_module.system):
            return
        size = pl_module.system.frame_size(batch)
        ema = find_ema(trainer)
        averaged = ema.applied(pl_module) if ema is not None else nullcontext()
        precision = trainer.precision_plugin.forward_context()
        with torch.no_grad(), averaged, evaluating(pl_module.system), precision:
            made = self._make(pl_module, size)
        if writer is not None:
            self._log(made, writer, trainer.global_step)

    def _make(self, module: VideoModule, size: tuple[int, int]) -> _Made:
        masks = MaskRecord()
        truth = held_out = prompted = None
        if self._held_out is not None:
            truth, captions = self._held_out.pixels(module.system), self._held_out.captions
            held_out = self._generate(module, captions, truth[:, 0], size, masks)
        if self.prompts:
            prompted = self._generate(module, self.prompts, None, size, masks)
        return _Made(truth, held_out, prompted, masks)

    def _log(self, made: _Made, writer: SummaryWriter, step: int) -> None:
        for tag, clips, truth in (
            ("samples/held_out", made.held_out, made.truth),
            ("samples/prompts", made.prompted, None),
        ):
            if clips is not None:
                above = None if truth is None else _channels_last(truth)
                sheet = grid(_channels_last(clips), len(clips), above)
                write_gif_image(writer, tag, gif_bytes(sheet, self._fps, self.scale), step)
        write_masks(writer, made.masks, step)
        writer.flush()

    def _generate(
        self,
        module: VideoModule,
        captions: Sequence[str],
        first_frame: Tensor | None,
        size: tuple[int, int],
        masks: MaskRecord,
    ) -> Tensor:
        """Clips uint8 `[N, T, 3, H, W]` on the CPU."""
        settings = module.system.sampling
        if self.steps is not None:
            settings = dataclasses.replace(settings, steps=self.steps)
        frames = module.system.generate(
            [Segment(tuple(captions), self.frames)],
            generators_for(self.seed, [f"sample:{i}" for i in range(len(captions))]),
            size,
            first_frame.to(module.device) if first_frame is not None else None,
            settings,
            masks,
        )
        return torch.stack([frame.cpu() for frame in frames], dim=1)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every submodule is in its own mode again."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in modes:
            m.training = training


def held_out_clips(data: VideoDataModule, count: int, frames: int) -> HeldOutClips | None:
    """The first `count` readable clips of the validation shards with at least `frames` frames.

    Returns:
        None where there is no such clip.
    """
    read = (_read_clip(raw, data, frames) for raw in _raw_samples(data))
    found = list(islice(filter(None, read), count))
    if not found:
        return None
    clips, captions = zip(*found, strict=True)
    return HeldOutClips(torch.stack(clips), captions)


def _raw_samples(data: VideoDataModule) -> Iterator[RawSample]:
    assert data.val_shards is not None
    for path in expand(data.val_shards):
        yield from read_shard(path)


def _read_clip(raw: RawSample, data: VideoDataModule, frames: int) -> tuple[Tensor, str] | None:
    """The clip and its caption; None where it is unreadable or too short."""
    try:
        with open_frames(raw) as source:
            ticks = timeline(source.timestamps, data.fps)
            if len(ticks) < frames:
                return None
            return source.frames(ticks[:frames], data.size), caption_of(raw.files).text
    except (DecodeError, BadCaption):
        return None  # the training stream counts and names it


def summary_writer(trainer: Trainer) -> SummaryWriter | None:
    """TensorBoard's writer, if TensorBoard is among the loggers."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            writer: SummaryWriter = logger.experiment
            return writer
    return None


def write_gif_image(writer: SummaryWriter, tag: str, gif: bytes, step: int) -> None:
    """An animated GIF as an image summary, which TensorBoard plays (`add_video` needs moviepy)."""
    with Image.open(io.BytesIO(gif)) as opened:
        width, height = opened.size
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    writer._get_file_writer().add_summary(summary, step)


def write_masks(writer: SummaryWriter, masks: MaskRecord, step: int) -> None:
    """Fig. 4 as scalars, histogram and picture, and Fig. 9; nothing for a system without a mask."""
    means, values = masks.mean_by_step(), masks.values_by_step()
    if not means:
        return
    for index in _spread(len(means), 5):
        writer.add_scalar(f"mask/mean/{index:03d}", means[index], step)
        writer.add_histogram(f"mask/values/{index:03d}", values[index].numpy(), step)
    writer.add_image("mask/fig4", masks.density_picture(), step, dataformats="HWC")
    writer.add_image("mask/fig9", masks.picture_strip(), step, dataformats="HWC")


def _spread(count: int, picks: int) -> list[int]:
    """Up to `picks` different indices of `range(count)`, evenly spread, ends included."""
    return sorted({round(float(i)) for i in np.linspace(0, count - 1, picks)})


def _channels_last(clips: Tensor) -> Tensor:
    return clips.permute(0, 1, 3, 4, 2).contiguous()
