"""The parts of an exported VideoGen that diffusers has no class for.

diffusers finds it here by module and class name (`model_index.json`), and needs `ModelMixin` to be
a name of the same module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKL, ConfigMixin, DDIMScheduler, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding
from torch import Tensor, nn

from lightning_artv.networks.autoencoder import Autoencoder, DiffusersAutoencoder
from lightning_artv.networks.clip_unet import ClipUNet
from lightning_artv.networks.flow import FlowNetwork
from lightning_artv.networks.temporal import (
    TEMPORAL,
    Clip,
    Layers,
    TemporalAttention,
    TemporalKernel,
    install,
    installed_layers,
    uninstall,
)
from lightning_artv.networks.temporal_decoder import Joins, Place, TemporalDecoder
from lightning_artv.networks.text_encoder import TextEncoder
from lightning_artv.pipelines.clips import OverTime, sides
from lightning_artv.pipelines.parts import key
from lightning_artv.pipelines.schedulers import betas_of, schedule_from
from lightning_artv.systems.decoder.system import VideoDecoder
from lightning_artv.systems.settings import restored
from lightning_artv.systems.videogen.cascade import Sharpener
from lightning_artv.systems.videogen.refiner import Refiner, TSRSampling
from lightning_artv.systems.videogen.tsr import TemporalSuperResolution


class StageLayers(OverTime, ModelMixin, ConfigMixin):
    """What makes a plain U-Net a stage: layers over time, what it reads beside `z_t`, and numbers.

    Args:
        convolutions: name of each convolution that is followed by one over time -> channels.
        attentions: name of each transformer block -> width and heads.
        reads: channels read beside `z_t`.
        first: channels out of the U-Net's first convolution.
        numbers: widths in and out of the embedding of frame rate and level.
        sharpened: channels of what sharpens the doubled stage before; None for nothing.
    """

    @register_to_config
    def __init__(
        self,
        convolutions: dict[str, int],
        attentions: dict[str, list[int]],
        reads: int,
        first: int,
        numbers: list[int],
        sharpened: int | None = None,
    ) -> None:
        super().__init__()
        self.clip = Clip()
        layers: Layers = {n: TemporalKernel(c, self.clip) for n, c in convolutions.items()}
        layers |= {
            name: TemporalAttention(width, heads, self.clip, early=True)
            for name, (width, heads) in attentions.items()
        }
        self.layers = nn.ModuleDict({key(name): layer for name, layer in layers.items()})
        self.shown = nn.Conv2d(reads, first, 3, padding=1, bias=False)
        self.embedding = TimestepEmbedding(*numbers)
        self.sharpener = None if sharpened is None else Sharpener(sharpened)

    @classmethod
    def of(
        cls, network: ClipUNet, channels: int, sharpener: Sharpener | None = None
    ) -> StageLayers:
        """What a network that is there has beside the image model; most tensors are shared.

        Args:
            network: a stage's.
            channels: number of channels of `z_t`.
            sharpener: what sharpens the doubled stage before, if anything.
        """
        unet, found = network.unet, installed_layers(network.unet)
        convolutions, attentions = {}, {}
        for name, layer in found.items():
            if isinstance(layer, TemporalAttention):
                attentions[name] = sides(layer)
            else:
                convolutions[name] = layer.channels
        weight, numbers = unet.conv_in.weight, unet.class_embedding
        widths = [numbers.linear_1.in_features, numbers.linear_1.out_features]
        sharpened = None if sharpener is None else sharpener.channels
        reads = weight.shape[1] - channels
        with torch.device("meta"):  # only the frame: its layers are replaced by the network's
            part = cls(convolutions, attentions, reads, len(weight), widths, sharpened)
        for name, layer in found.items():
            part.layers[key(name)] = layer
        part.clip, part.embedding, part.sharpener = network.clip, numbers, sharpener
        part.shown.weight = nn.Parameter(weight.detach()[:, channels:].clone())
        return part.eval()

    def install(self, unet: UNet2DConditionModel) -> None:
        """Make a stage of the image model `unet`, in place.

        Raises:
            UserError: a U-Net of another layout.
        """
        self.check_fits(unet)
        plain = unet.conv_in
        joined = torch.cat([plain.weight, self.shown.weight.to(plain.weight)], dim=1)
        unet.conv_in = _first(joined, plain.bias)
        unet.register_to_config(in_channels=joined.shape[1])
        unet.class_embedding = self.embedding
        install(unet, self.by_name())

    @contextmanager
    def installed(self, unet: UNet2DConditionModel) -> Iterator[None]:
        """Within, `unet` is a stage; then it is an image model again."""
        plain = unet.conv_in
        self.install(unet)
        try:
            yield
        finally:
            uninstall(unet)
            unet.conv_in, unet.class_embedding = plain, None
            unet.register_to_config(in_channels=plain.in_channels)


def plain_unet(unet: UNet2DConditionModel, channels: int) -> UNet2DConditionModel:
    """A stage's U-Net without what is VideoGen's: Stable Diffusion's; most tensors are shared."""
    ours = {"class_embed_type": None, "projection_class_embeddings_input_dim": None}
    with torch.device("meta"):
        plain = UNet2DConditionModel.from_config({**unet.config, **ours, "in_channels": channels})
    state = {
        name: tensor
        for name, tensor in unet.state_dict(keep_vars=True).items()
        if TEMPORAL not in name and not name.startswith("class_embedding.")
    }
    first = state["conv_in.weight"].detach()[:, :channels].clone()
    state["conv_in.weight"] = nn.Parameter(first)
    plain.load_state_dict(state, assign=True)
    return plain.eval()


def _first(weight: torch.Tensor, bias: nn.Parameter) -> nn.Conv2d:
    with torch.device("meta"):
        conv = nn.Conv2d(weight.shape[1], len(weight), 3, padding=1)
    conv.weight, conv.bias = nn.Parameter(weight.detach()), bias
    return conv


class FrameMaker(ModelMixin, ConfigMixin):
    """The networks of temporal super-resolution, and what they are used with.

    Args:
        flow_config: arguments of the flow network.
        sampling: settings, as plain data.
        unet_config: configuration of the refiner's U-Net; None without a refiner.
        prediction_type: what that predicts.
        betas: arguments of a scheduler of its noise schedule.
        tokens: how many tokens the empty text has, which the refiner reads, and how wide they are.
    """

    @register_to_config
    def __init__(
        self,
        flow_config: dict[str, Any],
        sampling: dict[str, Any],
        unet_config: dict[str, Any] | None = None,
        prediction_type: str | None = None,
        betas: dict[str, Any] | None = None,
        tokens: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.flow = FlowNetwork(**flow_config)
        self.unet: Any = None
        if unet_config is not None:
            self.unet = UNet2DConditionModel.from_config(unet_config)
        self.empty = None if tokens is None else nn.Parameter(torch.zeros(1, *tokens))

    @classmethod
    def of(cls, part: TemporalSuperResolution) -> FrameMaker:
        """Those of a part that is there; its tensors are shared."""
        names = ("channels", "levels", "width", "growth")
        said: dict[str, Any] = {"flow_config": {name: getattr(part.flow, name) for name in names}}
        said["sampling"] = dataclasses.asdict(part.sampling)
        refiner = part.refiner
        if refiner is not None:
            empty = part.no_text()
            said |= {"unet_config": _plain(refiner.unet.config)}
            said |= {"betas": betas_of(refiner.schedule)}
            said |= {"prediction_type": refiner.prediction_type, "tokens": list(empty.shape[1:])}
        with torch.device("meta"):
            made = cls(**said)
        made.flow = part.flow
        if refiner is not None:
            made.unet, made.empty = refiner.unet, nn.Parameter(empty.detach())
        return made.eval()

    def part(self, autoencoder: Autoencoder) -> TemporalSuperResolution:
        """The part of these networks, on the latents of an autoencoder."""
        said, refiner, text = self.config, None, None
        if self.unet is not None:
            schedule = schedule_from(DDIMScheduler(**said.betas))
            refiner = Refiner(self.unet, schedule, said.prediction_type)
            assert self.empty is not None
            text = _Known(self.empty)
        sampling = restored(TSRSampling(), said.sampling)
        return TemporalSuperResolution(self.flow, refiner, autoencoder, text, sampling=sampling)


class _Known(TextEncoder):
    """Answers every caption with the tokens of the empty one, the only one that is asked for."""

    def __init__(self, tokens: nn.Parameter) -> None:
        super().__init__()
        self.tokens, self.width = tokens, tokens.shape[-1]

    def forward(self, captions: Sequence[str]) -> Tensor:
        """Tokens `[B, L, D]`."""
        return self.tokens.expand(len(captions), -1, -1)


class ClipDecoder(TemporalDecoder, ModelMixin, ConfigMixin):
    """A video decoder.

    Args:
        vae: configuration of the image model whose decoder it was made of.
        place: where its layers over time are.
        clip_frames, context: see `Joins`.
    """

    config: Any

    @register_to_config
    def __init__(self, vae: dict[str, Any], place: Place, clip_frames: int, context: int) -> None:
        super().__init__(AutoencoderKL.from_config(vae), place)

    @classmethod
    def of(cls, part: VideoDecoder) -> ClipDecoder:
        """That of a part that is there; its tensors are shared."""
        vae, network, joins = _plain(part.autoencoder.vae.config), part.decoder, part.joins
        with torch.device("meta"):
            made = cls(vae, network.place, joins.clip_frames, joins.context)
        made.load_state_dict(network.state_dict(keep_vars=True), assign=True)
        return made.eval()

    def part(self, autoencoder: Autoencoder) -> VideoDecoder:
        """The part of this network behind an image model."""
        assert isinstance(autoencoder, DiffusersAutoencoder)
        joins = Joins(self.config.clip_frames, self.config.context)
        return VideoDecoder(autoencoder, self, joins=joins)


def _plain(config: Any) -> dict[str, Any]:
    """A diffusers model's configuration without what says where it was read."""
    return {name: value for name, value in config.items() if not name.startswith("_")}
