"""Temporal super-resolution (paper Sec. 3.3): a frame between each two, by their motion, refined.

A part of its own: it reads no text, and serves any system whose frames it is trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import Generators, randn
from lightning_artv.diffusion.plan import Step
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.networks.flow import FlowNetwork, Motion, resize_flow
from lightning_artv.networks.raft import RAFT
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.networks.unet import UNetSource
from lightning_artv.systems.base import LossOutput, Trainable
from lightning_artv.systems.videogen.interpolation import combined, interleave, pairs
from lightning_artv.systems.videogen.refiner import Refiner, RefinerOptions, TSRSampling
from lightning_artv.systems.videogen.windows import TripletWindow


@dataclass(frozen=True)
class FlowOptions:
    """A flow network to build.

    Attributes:
        levels: number of levels of its pyramid; the longest motion that is seen is about
            `2 ** levels` pixels of the latents.
        width: channels of the first level's features.
        growth: how much wider each level is than the one before.
    """

    levels: int = 4
    width: int = 32
    growth: float = 1.5


FLOW, REFINER, SAMPLING = FlowOptions(), RefinerOptions(), TSRSampling()


class TemporalSuperResolution(Trainable):
    """A flow network and, behind it, a refiner; both are trained together, neither on the other.

    Args:
        flow: flow network on the autoencoder's grid.
        refiner: an image model; None: the warped frames are the result.
        autoencoder: pixels to latents.
        text_encoder: frozen, for the refiner's empty text; None for a token of zeros.
        teacher: shows the flow from the true middle; None trains by the warped frame alone.
        sampling: how frames are made.
    """

    windows = TripletWindow
    part = "tsr"

    def __init__(
        self,
        flow: FlowNetwork,
        refiner: Refiner | None,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder | None = None,
        teacher: RAFT | None = None,
        sampling: TSRSampling = SAMPLING,
    ) -> None:
        super().__init__()
        self.flow, self.refiner = flow, refiner
        self.autoencoder, self.text_encoder = autoencoder, text_encoder
        self.teacher, self.sampling = teacher, sampling

    @classmethod
    def build(
        cls,
        autoencoder: Autoencoder,
        unet: UNetSource | None = None,
        text_encoder: TextEncoder | None = None,
        flow: FlowOptions = FLOW,
        refiner: RefinerOptions = REFINER,
        teacher: RAFT | None = None,
        sampling: TSRSampling = SAMPLING,
    ) -> TemporalSuperResolution:
        """A part as it starts training; configurations name this as their `class_path`.

        Args:
            autoencoder: pixels to latents.
            unet: where the refiner's image model comes from; None for no refiner.
            text_encoder: text encoder of the refiner; one with random weights may do without.
            flow: the flow network.
            refiner: the rest of the refiner.
            teacher: optical flow by trained weights; None trains without.
            sampling: how frames are made.

        Raises:
            UserError: a trained image model without a text encoder, or one of another width.
        """
        channels, _ = autoencoder.grid
        network = FlowNetwork(channels, flow.levels, flow.width, flow.growth)
        refines = None
        if unet is not None:
            if text_encoder is None and unet.trained:
                raise UserError("The refiner's image model reads the empty text: set text_encoder.")
            width = None if text_encoder is None else text_encoder.width
            refines = Refiner.build(unet, autoencoder.channels, width, refiner)
        return cls(network, refines, autoencoder, text_encoder, teacher, sampling)

    def blocks(self) -> list[nn.Module]:
        """The refiner's."""
        return [] if self.refiner is None else self.refiner.blocks()

    def shard_units(self) -> list[nn.Module]:
        """The refiner's U-Net and the flow network."""
        return [*([] if self.refiner is None else [self.refiner.unet]), self.flow]

    # Training

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """How far the warped middle, the flows (with a teacher) and the refined middle are off.

        Raises:
            UserError: a teacher, and stored latents that it cannot see.
        """
        latents = batch.gather(self.autoencoder.encode_clips(batch.frames, generators))
        first, true, last = (self.autoencoder.to_grid(latents[:, role]) for role in range(3))
        motion = self.flow(first, last)
        warped = motion.between(first, last)
        error = _rho(warped - true)
        scalars = {"warped": (warped.detach() - true).square().flatten(1).mean(dim=1)}
        if self.teacher is not None:
            flow_error = self._flow_error(self.teacher, motion, batch)
            error, scalars["flow"] = error + flow_error, flow_error.detach()
        level = None
        if self.refiner is not None:
            shown = self.autoencoder.from_grid(warped.detach())
            text = self.no_text()
            refined, scalars["refined"], level = self.refiner.loss(
                latents[:, 1], shown, text, generators
            )
            error = error + refined
        return LossOutput(error.mean(), error.detach(), level, scalars)

    def _flow_error(self, teacher: RAFT, motion: Motion, batch: VideoBatch) -> Tensor:
        """Of both flows `[B]` against the teacher's, in pixels of the grid."""
        if batch.frames.dtype != torch.uint8:
            raise UserError("The teacher reads pixels: give shards of videos, not of latents.")
        first, true, last = batch.gather(batch.frames)[:, :3].unbind(1)
        _, factor = self.autoencoder.grid
        told = [resize_flow(teacher.flow(true, end), 1 / factor) for end in (first, last)]
        found = (motion.to_first, motion.to_last)
        return torch.stack([_rho(a - b) for a, b in zip(found, told, strict=True)]).sum(dim=0)

    def no_text(self) -> Tensor:
        """Tokens of the empty text `[1, L, D]`."""
        if self.text_encoder is not None:
            return self.text_encoder([""])
        assert self.refiner is not None
        weight = self.refiner.unet.conv_in.weight
        return weight.new_zeros(1, 1, self.refiner.unet.config.cross_attention_dim)

    def preview(self, batch: VideoBatch, generators: Generators) -> dict[str, Tensor]:
        """Middle frames: the true one, the mean of both ends, the warped and the refined one."""
        latents = batch.gather(self.autoencoder.encode_clips(batch.frames, generators))
        first, true, last = latents.unbind(1)
        shown = {"truth": true, "linear": (first + last) / 2, "warped": self.warped(first, last)}
        if self.refiner is not None and self.sampling.steps:
            noise = randn(generators, true.shape[1:], true.device)
            shown["refined"] = self.refined(shown["warped"], noise)
        return {name: self.autoencoder.decode(frames) for name, frames in shown.items()}

    # Generation

    @torch.no_grad()
    def slow_down(
        self, latents: Tensor, generators: Generators, sampling: TSRSampling | None = None
    ) -> Tensor:
        """One pass: latents of T frames `[B, T, C, h, w]` to those of 2T - 1, the given ones as
        they are.

        Args:
            latents: latents of clips.
            generators: one per clip.
            sampling: None for `self.sampling`.

        Raises:
            UserError: a single frame.
        """
        sampling = self.sampling if sampling is None else sampling
        first, last = pairs(latents)
        shape = (latents.shape[1] - 1, *latents.shape[2:])
        noise = randn(generators, shape, latents.device).flatten(0, 1)
        parts = zip(*(x.split(sampling.batch) for x in (first, last, noise)), strict=True)
        middles = [self._middle(one, other, drawn, sampling) for one, other, drawn in parts]
        return interleave(latents, torch.cat(middles))

    def _middle(self, first: Tensor, last: Tensor, noise: Tensor, sampling: TSRSampling) -> Tensor:
        warped = self.warped(first, last)
        if self.refiner is None or not sampling.steps:
            return warped
        return self.refined(warped, noise, sampling)

    @torch.no_grad()
    def warped(self, first: Tensor, last: Tensor) -> Tensor:
        """The middle of two frames' latents `[N, C, h, w]`, from where their motion leads."""
        one, other = self.autoencoder.to_grid(first), self.autoencoder.to_grid(last)
        return self.autoencoder.from_grid(self.flow(one, other).between(one, other).float())

    @torch.no_grad()
    def refined(self, warped: Tensor, noise: Tensor, sampling: TSRSampling | None = None) -> Tensor:
        """The low band of warped latents `[N, C, h, w]` with the refiner's high band.

        Args:
            warped: what the refiner is shown.
            noise: standard normal, of their shape.
            sampling: None for `self.sampling`.
        """
        refiner, sampling = self.refiner, self.sampling if sampling is None else sampling
        assert refiner is not None
        text, solver = self.no_text(), sampling.solver()
        plan = solver.plan(refiner.schedule)

        def denoise(z_t: Tensor, t: int) -> Tensor:
            return refiner.clean(z_t, torch.full((len(z_t),), t, device=z_t.device), warped, text)

        def hold(index: int, z_t: Tensor) -> Tensor:
            return self._low_from(_noised(warped, noise, plan[index]), z_t, sampling.band)

        every_step = sampling.combine == "every_step"
        latents = solver.sample(
            denoise, noise, refiner.schedule, revise=hold if every_step else None
        )
        return self._low_from(warped, latents, sampling.band)

    def _low_from(self, warped: Tensor, refined: Tensor, band: int) -> Tensor:
        """`combined` of latents, on the grid."""
        to_grid, from_grid = self.autoencoder.to_grid, self.autoencoder.from_grid
        return from_grid(combined(to_grid(warped), to_grid(refined), band))


def _noised(clean: Tensor, noise: Tensor, step: Step) -> Tensor:
    """Clean latents at the level that a step reaches."""
    return step.next.signal * clean + step.next.noise * noise


def _rho(difference: Tensor) -> Tensor:
    """Charbonnier's error, `sqrt(d^2 + 1e-6)`, a mean per sample `[B]`."""
    return (difference.float().square() + 1e-6).sqrt().flatten(1).mean(dim=1)
