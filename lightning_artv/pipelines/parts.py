"""The parts that all systems' pipelines share, and what a system takes them for.

Stable Diffusion's own keep their own classes; the small models' have classes here.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from transformers import CLIPTextModel, CLIPTokenizer

from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import (
    Autoencoder,
    DiffusersAutoencoder,
    PixelUnshuffleAutoencoder,
)
from lightning_artv.networks.temporal_decoder import VideoAutoencoder
from lightning_artv.networks.text_encoder import (
    ByteTextEncoder,
    TextEncoder,
    TransformersTextEncoder,
)
from lightning_artv.pipelines.folder import SHARED_PARTS


def key(name: str) -> str:
    """A module's dotted name as one that a `ModuleDict` takes."""
    return name.replace(".", "-")


class PixelUnshuffleVAE(PixelUnshuffleAutoencoder, ModelMixin, ConfigMixin):
    """`PixelUnshuffleAutoencoder` as a part of a pipeline."""

    __module__ = SHARED_PARTS

    @register_to_config
    def __init__(self, factor: int = 2) -> None:
        super().__init__(factor)
        # to diffusers, a model without any tensor has no device and no file
        self.register_buffer("placeholder", torch.zeros(1))


class ByteTextModel(ByteTextEncoder, ModelMixin, ConfigMixin):
    """`ByteTextEncoder` as a part of a pipeline."""

    __module__ = SHARED_PARTS

    @register_to_config
    def __init__(
        self, width: int = 64, max_words: int = 24, max_bytes: int = 192, layers: int = 1
    ) -> None:
        super().__init__(width, max_words, max_bytes, layers)


Vae: TypeAlias = AutoencoderKL | PixelUnshuffleVAE
TextModel: TypeAlias = CLIPTextModel | ByteTextModel


def vae_of(autoencoder: Autoencoder) -> Vae:
    """The part that stands for a system's autoencoder.

    Raises:
        UserError: an autoencoder of another class, or with a video decoder.
    """
    if isinstance(autoencoder, VideoAutoencoder):
        raise UserError(
            "Only VideoGen's folders hold a video decoder: export without its checkpoint, and give "
            "that beside the folder (--checkpoint FOLDER decoder.ckpt)."
        )
    if isinstance(autoencoder, DiffusersAutoencoder):
        return autoencoder.vae
    if isinstance(autoencoder, PixelUnshuffleAutoencoder):
        return PixelUnshuffleVAE(autoencoder.factor).eval()
    raise UserError(f"An autoencoder of class {type(autoencoder).__name__} cannot be exported.")


def text_parts_of(encoder: TextEncoder) -> tuple[TextModel, CLIPTokenizer | None]:
    """The text model and tokenizer that stand for a system's text encoder.

    Raises:
        UserError: a text encoder of another class.
    """
    if isinstance(encoder, TransformersTextEncoder):
        return encoder.model, encoder.tokenizer
    if not isinstance(encoder, ByteTextEncoder):
        raise UserError(f"A text encoder of class {type(encoder).__name__} cannot be exported.")
    layers = len(encoder.transformer.layers)
    with torch.device("meta"):
        model = ByteTextModel(encoder.width, encoder.max_words, encoder.max_bytes, layers)
    model.load_state_dict(encoder.state_dict(keep_vars=True), assign=True)
    return model.eval(), None


def autoencoder_from(vae: Vae) -> Autoencoder:
    """A pipeline's `vae` as the system takes it."""
    return vae if isinstance(vae, PixelUnshuffleVAE) else DiffusersAutoencoder(vae)


def text_encoder_from(model: TextModel, tokenizer: CLIPTokenizer | None) -> TextEncoder:
    """A pipeline's `text_encoder` and `tokenizer` as the system takes them.

    Raises:
        UserError: CLIP without its tokenizer.
    """
    if isinstance(model, ByteTextModel):
        return model
    if tokenizer is None:
        raise UserError("The text encoder needs its tokenizer: give both.")
    return TransformersTextEncoder(model, tokenizer)
