"""Clips generated during training, and what the system shows of making them, in TensorBoard."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from lightning_artv.batch import VideoBatch
from lightning_artv.checkpoints.sharding import has_shards
from lightning_artv.data.captions import BadCaption, caption_of
from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.data.decode import DecodeError
from lightning_artv.data.shards import ClipSettings, Sample, collate, decode_example, open_frames
from lightning_artv.data.tar import RawSample, expand, read_shard
from lightning_artv.data.timeline import timeline
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.figures import Animation, Figure, Picture
from lightning_artv.media import gif_bytes, grid
from lightning_artv.media.tensorboard import write_figures
from lightning_artv.networks.preview import load_tiny, previewing
from lightning_artv.systems.base import Generative, Recorder, Segment
from lightning_artv.training.ema import find_ema
from lightning_artv.training.module import VideoModule


@dataclass(frozen=True)
class HeldOutClips:
    """Whole clips to generate after.

    Attributes:
        frames: uint8 pixels `[N, T, 3, H, W]`, or stored latents.
        captions: one per clip.
    """

    frames: Tensor
    captions: tuple[str, ...]

    def pixels(self, system: Generative, device: torch.device) -> Tensor:
        """uint8 `[N, T, 3, H, W]`."""
        flat = self.frames.flatten(0, 1).to(device)
        return system.pixels(flat).cpu().unflatten(0, self.frames.shape[:2])


class SampleLogger(Callback):
    """Every so many steps, generates clips from held-out first frames and captions, and from text.

    A system that makes its first frames itself is given the held-out captions alone. Of a part that
    makes no videos alone, its `preview` of held-out samples is written, as `preview/<name>`.

    Writes to TensorBoard, under the averaged weights where the EMA callback is on and with the same
    noise every time: `samples/held_out` (truth above, generated below) and `samples/prompts` as
    animated pictures, and the figures of the system's own `recorder`.

    Args:
        every_n_steps: optimiser steps between two rounds.
        clips: held-out clips, or samples, of the validation shards; 0 for none.
        frames: number of frames of each generated clip, the first frame included.
        prompts: captions to generate from alone.
        steps: denoising steps per frame; None for the system's own.
        seed: seed of the noise.
        scale: pixels are shown this many times larger.
        preview: folder or hub id of a diffusers AutoencoderTiny, such as `madebyollin/taesd`, that
            decodes the clips: sooner, less exact. None: the system's own decoder.
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
        preview: str | None = None,
    ) -> None:
        self._tiny = None if preview is None else load_tiny(preview)
        self.every_n_steps = max(1, every_n_steps)
        self.clips = clips
        self.frames = frames
        self.prompts = tuple(prompts)
        self.steps = steps
        self.seed = seed
        self.scale = scale
        self._held_out: HeldOutClips | None = None
        self._batch: VideoBatch | None = None  # what a part's preview is of
        self._fps = 8.0
        self._last_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, VideoDataModule):
            return
        self._fps = data.fps or self._fps
        if not self.clips or data.val_shards is None:
            return
        assert isinstance(pl_module, VideoModule)
        if not isinstance(pl_module.system, Generative):
            self._batch = held_out_batch(data, self.clips)
        else:
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
        ema = find_ema(trainer)
        averaged = ema.applied(pl_module) if ema is not None else nullcontext()
        precision = trainer.precision_plugin.forward_context()
        decoded = previewing(pl_module.system, self._tiny)
        with torch.no_grad(), averaged, evaluating(pl_module.system), precision, decoded:
            figures = dict(self._figures(pl_module, batch))
        if writer is not None:
            write_figures(writer, figures, trainer.global_step)
            writer.flush()

    def _figures(self, module: VideoModule, batch: VideoBatch) -> Iterator[tuple[str, Figure]]:
        system = module.system
        if not isinstance(system, Generative):
            yield from self._preview(module)
            return
        recorder, size = system.recorder(), system.frame_size(batch)
        if self._held_out is not None:
            truth, captions = self._held_out.pixels(system, module.device), self._held_out.captions
            first = truth[:, 0] if system.continues else None
            clips = self._generate(module, captions, first, size, recorder)
            yield "samples/held_out", self._animation(clips, truth)
        if self.prompts:
            clips = self._generate(module, self.prompts, None, size, recorder)
            yield "samples/prompts", self._animation(clips)
        if recorder is not None:
            yield from recorder.figures().items()

    def _preview(self, module: VideoModule) -> Iterator[tuple[str, Figure]]:
        """What a part that makes no videos alone shows of held-out samples."""
        if self._batch is None:
            return
        keys = self._batch.each_target(self._batch.keys)
        generators = generators_for(self.seed, [f"preview:{key}" for key in keys])
        shown = module.system.preview(self._batch.to(module.device), generators)
        for name, frames in shown.items():
            if frames.ndim == 5:
                yield f"preview/{name}", self._animation(frames.cpu())
            else:
                sheet = grid(_channels_last(frames[:, None].cpu()), len(frames))[0]
                large = sheet.repeat_interleave(self.scale, 0).repeat_interleave(self.scale, 1)
                yield f"preview/{name}", Picture(large.numpy())

    def _animation(self, clips: Tensor, truth: Tensor | None = None) -> Animation:
        """The clips in a row, below the true ones."""
        above = None if truth is None else _channels_last(truth)
        sheet = grid(_channels_last(clips), len(clips), above)
        return Animation(gif_bytes(sheet, self._fps, self.scale))

    def _generate(
        self,
        module: VideoModule,
        captions: Sequence[str],
        first_frame: Tensor | None,
        size: tuple[int, int],
        recorder: Recorder | None,
    ) -> Tensor:
        """Clips uint8 `[N, T, 3, H, W]` on the CPU."""
        assert isinstance(module.system, Generative)
        settings = module.system.sampling
        if self.steps is not None:
            settings = dataclasses.replace(settings, steps=self.steps)
        frames = module.system.generate(
            [Segment(tuple(captions), self.frames)],
            generators_for(self.seed, [f"sample:{i}" for i in range(len(captions))]),
            size,
            first_frame.to(module.device) if first_frame is not None else None,
            settings,
            recorder,
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


def held_out_batch(data: VideoDataModule, count: int) -> VideoBatch | None:
    """The first `count` readable validation samples as training sees them.

    Returns:
        None where there is none.
    """
    assert data.windows is not None  # `choose_windows` has seen to it
    clips = ClipSettings(data.windows.for_evaluation(), data.size, data.fps)
    read = (_read_sample(raw, clips) for raw in _raw_samples(data))
    found = list(islice(filter(None, read), count))
    return collate(found) if found else None


def _read_sample(raw: RawSample, clips: ClipSettings) -> Sample | None:
    """An example of a sample; None where it is unreadable or too short."""
    try:
        rng = random.Random(f"preview:{raw.key}")
        return decode_example(raw, caption_of(raw.files).text, clips, rng)
    except (DecodeError, BadCaption):
        return None  # the training stream counts and names it


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


def _channels_last(clips: Tensor) -> Tensor:
    return clips.permute(0, 1, 3, 4, 2).contiguous()
