"""The training of a video decoder: VidRD's (Sec. 4.4) and VideoGen's (Sec. 3.4) are two
configurations of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_artv.batch import VideoBatch
from lightning_artv.data.windows import ConsecutiveFrames
from lightning_artv.diffusion.noise import Generators
from lightning_artv.errors import UserError, check_number, check_whole
from lightning_artv.networks.autoencoder import Autoencoder, DiffusersAutoencoder, to_uint8
from lightning_artv.networks.perceptual import LPIPS, PatchDiscriminator
from lightning_artv.networks.temporal import freeze_all_but
from lightning_artv.networks.temporal_decoder import (
    Joins,
    Place,
    TemporalDecoder,
    VideoAutoencoder,
)
from lightning_artv.systems.base import LossOutput, Trainable
from lightning_artv.systems.decoder.degradations import degrade_clips


@dataclass(frozen=True)
class DecoderTraining:
    """How the loss is made of a batch.

    Attributes:
        degrade: None encodes the clips as they are (VidRD), `bsrgan` degraded ones (VideoGen); the
            target is the clean clip.
        lpips: perceptual distance, where its weights are; None for none.
        lpips_weight: weight of that beside L1.
        disc: weight of a patch discriminator (0.5 in Stable Diffusion's own training); 0, the
            default, has none. It is scaled so that it pulls the pictures as hard as L1 does.

    Raises:
        UserError: other degradations, or a negative weight.
    """

    degrade: Literal["bsrgan"] | None = None
    lpips: LPIPS | None = None
    lpips_weight: float = 1.0
    disc: float = 0.0

    def __post_init__(self) -> None:
        if self.degrade not in (None, "bsrgan"):
            raise UserError(f"degrade is {self.degrade!r}: choose bsrgan or null.")
        check_number("lpips_weight", self.lpips_weight, 0)
        check_number("disc", self.disc, 0)


@dataclass(frozen=True)
class DecoderOptions:
    """A decoder to build.

    Attributes:
        layers: `blocks`, three convolutions over time behind each residual block (VidRD), or
            `convolutions`, one behind each, and an attention (VideoGen).
        trained: `temporal`, the layers over time alone (VidRD); `all` (VideoGen); or `image`, all
            but these, which stay at zero: an image decoder, to see what they add.
        clip_frames: frames decoded together.
        decode_context: frames before them that are decoded again and dropped; 0, the papers', none.

    Raises:
        UserError: a number that is none, or another choice.
    """

    layers: Place = "blocks"
    trained: Literal["temporal", "all", "image"] = "temporal"
    clip_frames: int = 8
    decode_context: int = 4

    def __post_init__(self) -> None:
        if self.trained not in ("temporal", "all", "image"):
            raise UserError(f"trained is {self.trained!r}: choose temporal, all or image.")
        check_whole("clip_frames", self.clip_frames, 1)
        check_whole("decode_context", self.decode_context, 0)


TRAINING, DECODER = DecoderTraining(), DecoderOptions()


class VideoDecoder(Trainable):
    """A frozen image encoder and the decoder that is trained behind it.

    Args:
        autoencoder: the image model, frozen.
        decoder: what is trained.
        training: how the loss is made.
        joins: how long clips are decoded.
    """

    windows = ConsecutiveFrames
    part = "decoder"

    def __init__(
        self,
        autoencoder: DiffusersAutoencoder,
        decoder: TemporalDecoder,
        training: DecoderTraining = TRAINING,
        joins: Joins = Joins(8, 4),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        self.autoencoder, self.decoder = autoencoder.requires_grad_(False), decoder
        self.training_options, self.joins = training, joins
        self.discriminator = PatchDiscriminator() if training.disc else None

    @classmethod
    def build(
        cls,
        autoencoder: Autoencoder,
        decoder: DecoderOptions = DECODER,
        training: DecoderTraining = TRAINING,
    ) -> VideoDecoder:
        """A part as it starts training; configurations name this as their `class_path`.

        Args:
            autoencoder: a `KLAutoencoder`.
            decoder: what is built of it.
            training: how the loss is made.

        Raises:
            UserError: an autoencoder without a decoder that could be trained.
        """
        if not isinstance(autoencoder, DiffusersAutoencoder):
            raise UserError(
                f"{type(autoencoder).__name__} has no decoder to train: give a KLAutoencoder."
            )
        network = TemporalDecoder(autoencoder.vae, decoder.layers)
        freeze_all_but(network, decoder.trained)
        joins = Joins(decoder.clip_frames, decoder.decode_context)
        return cls(autoencoder, network, training, joins)

    def blocks(self) -> list[nn.Module]:
        """The decoder's."""
        return self.decoder.blocks()

    def attach(self, system: nn.Module) -> None:
        """Let a system, or a part that decodes, do so with this, in place.

        Raises:
            UserError: a system whose latents are of another autoencoder.
        """
        own = getattr(system, "autoencoder", None)
        if not isinstance(own, DiffusersAutoencoder) or not _same_latents(own, self.autoencoder):
            raise UserError(
                f"The decoder was trained on the latents of another autoencoder than "
                f"{type(system).__name__} makes: give the decoder that belongs to it."
            )
        system.autoencoder = self.video_autoencoder()

    def video_autoencoder(self) -> VideoAutoencoder:
        """What systems decode with in the place of the image model; networks are shared."""
        return VideoAutoencoder(
            self.autoencoder.vae, self.decoder, self.joins, self.autoencoder.batch
        )

    def decode_clip(self, latents: Tensor, before: Tensor | None = None) -> Tensor:
        """Clips' latents to uint8 pixels; see `Autoencoder.decode_clip`."""
        return self.video_autoencoder().decode_clip(latents, before)

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        """How far decoded clips are from the clean ones.

        Raises:
            UserError: stored latents, whose pixels nobody knows.
        """
        if batch.frames.dtype != torch.uint8:
            raise UserError("A decoder learns from pixels: give shards of videos, not of latents.")
        clips = batch.gather(batch.frames)
        made = self.decoder(self._latents(clips, generators)).float()
        true = clips.float() / 127.5 - 1
        error = (made - true).abs().flatten(1).mean(dim=1)
        scalars = {"l1": error.detach()}
        options = self.training_options
        if options.lpips is not None:
            far = options.lpips.distance(made.flatten(0, 1), true.flatten(0, 1))
            scalars["lpips"] = far.detach().unflatten(0, clips.shape[:2]).mean(dim=1)
            error = error + options.lpips_weight * far.unflatten(0, clips.shape[:2]).mean(dim=1)
        if self.discriminator is not None:
            adversarial, scalars["disc"] = self._adversarial(self.discriminator, error, made, true)
            error = error + adversarial
        return LossOutput(error.mean(), error.detach(), None, scalars)

    def _latents(self, clips: Tensor, generators: Generators) -> Tensor:
        """Sampled latents of clips uint8 `[B, F, 3, H, W]`, degraded where that is wanted."""
        if self.training_options.degrade is not None:
            clips = degrade_clips(clips, generators)
        return self.autoencoder.encode_clips(clips, generators)

    def _adversarial(
        self, judge: PatchDiscriminator, error: Tensor, made: Tensor, true: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss of decoder and discriminator `[B]`, and the latter alone.

        Its weight is VQGAN's, the ratio of both losses' gradients, taken at the pictures: the last
        layer, where VQGAN takes it, may be frozen here.
        """
        frames = made.flatten(0, 1)
        own = judge.hinge(true.flatten(0, 1), frames).unflatten(0, made.shape[:2]).mean(dim=1)
        real = judge.realness(frames).unflatten(0, made.shape[:2]).mean(dim=1)
        if not made.requires_grad:  # in validation
            return own, own.detach()
        pulls = [torch.autograd.grad(x.sum(), made, retain_graph=True)[0] for x in (error, real)]
        balance = (pulls[0].norm() / (pulls[1].norm() + 1e-4)).clamp(max=1e4).detach()
        return own - self.training_options.disc * balance * real, own.detach()

    @torch.no_grad()
    def preview(self, batch: VideoBatch, generators: Generators) -> dict[str, Tensor]:
        """Clips: true, degraded where that is wanted, and what both decoders make of them."""
        clips = batch.gather(batch.frames)
        shown = {"truth": clips}
        seen = clips
        if self.training_options.degrade is not None:
            seen = shown["degraded"] = degrade_clips(clips, generators)
        latents = self.autoencoder.encode_clips(seen, generators)
        shown["image_decoder"] = self.autoencoder.decode_clip(latents)
        return {**shown, "decoder": to_uint8(self.decoder(latents).float())}


def _same_latents(one: DiffusersAutoencoder, other: DiffusersAutoencoder) -> bool:
    """Whether two image models encode alike: the decoders need not be the same."""
    scales = {a.vae.config.scaling_factor for a in (one, other)}
    states = [
        {n: x for n, x in a.vae.state_dict().items() if n.startswith(("encoder.", "quant_conv."))}
        for a in (one, other)
    ]
    return (
        len(scales) == 1
        and states[0].keys() == states[1].keys()
        and all(torch.equal(x.cpu(), states[1][n].cpu()) for n, x in states[0].items())
    )
