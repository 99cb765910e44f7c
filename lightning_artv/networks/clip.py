"""CLIP: images and captions in one space, frozen. Scores captions in `data_prep` and `evaluation`.

Preprocessing is the model's own (`preprocessor_config.json`), by transformers' `CLIPProcessor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPProcessor

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.given import is_hub_id
from lightning_artv.networks.pretrained import (
    find_model,
    load_model,
    snapshot,
)
from lightning_artv.networks.state_dict import load_tensors
from lightning_artv.networks.weight_files import check_sha256, digest_of, sha256_of


class CLIP(nn.Module):
    """A published CLIP, frozen, in float32 and evaluation mode.

    Args:
        pretrained: folder written by transformers' `save_pretrained`, a weight file in it, or a hub
            id. Weights are read from safetensors, or, where a repository has none (OpenAI's
            ViT-B/32), from `pytorch_model.bin` without unpickling objects.
        revision: hub revision.
        sha256: expected sha256 of the weight file.
        variant: variant of the weights, such as `fp16`; None: the plain ones, or the only variant.

    Attributes:
        width: D, the width of the common space (512 for ViT-B/32).
        sha256: digest of the weights that were loaded, see `weight_files.digest_of`.

    Raises:
        MissingWeightsError: no weights, tokenizer or preprocessor there.
        CorruptWeightsError: damaged weights, or another sha256.
    """

    width: int
    sha256: str

    def __init__(
        self,
        pretrained: str = "openai/clip-vit-base-patch32",
        revision: str | None = None,
        sha256: str | None = None,
        variant: str | None = None,
    ) -> None:
        super().__init__()
        try:
            folder, _, weights = find_model(CLIPModel, pretrained, "", revision, variant)
        except MissingWeightsError:
            path = _bin_file(pretrained, revision)
            if path is None:
                raise
            folder = path.parent
            self.model, self.sha256 = _load_bin(path, sha256), sha256_of(path)
        else:
            self.model = load_model(CLIPModel, str(folder), "", None, sha256, weights.variant)
            self.sha256 = digest_of(weights.files)
        self.model.float().requires_grad_(False).eval()
        self.width = self.model.config.projection_dim
        try:
            self.processor = CLIPProcessor.from_pretrained(folder)
        except (OSError, ValueError, TypeError) as error:
            raise MissingWeightsError(
                f"{folder} holds no CLIP tokenizer and preprocessor_config.json: give a folder "
                f"with all files of the model."
            ) from error

    def train(self, mode: bool = True) -> CLIP:
        """Stay in evaluation mode: the network is frozen."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.no_grad()
    def images(self, frames: Tensor) -> Tensor:
        """Embed frames, uint8 `[N, 3, H, W]`, to unit vectors `[N, D]` in float32."""
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3:
            raise ValueError(
                f"CLIP takes uint8 frames [N, 3, H, W], got {frames.dtype} {tuple(frames.shape)}."
            )
        pixels = self.processor.image_processor(images=list(frames.cpu()), return_tensors="pt")
        # the parts rather than `get_image_features`, which returns a tensor in transformers 4 and
        # an object in 5; float32 also inside a trainer's bf16
        with torch.autocast(self.device.type, enabled=False):
            hidden = self.model.vision_model(pixel_values=pixels["pixel_values"].to(self.device))
            return F.normalize(self.model.visual_projection(hidden.pooler_output), dim=-1)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed captions to unit vectors `[N, D]` in float32; all after 77 tokens is cut."""
        limit = self.model.config.text_config.max_position_embeddings
        tokens = self.processor.tokenizer(
            list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt"
        ).to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            hidden = self.model.text_model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            return F.normalize(self.model.text_projection(hidden.pooler_output), dim=-1)


def _bin_file(pretrained: str, revision: str | None) -> Path | None:
    """`pytorch_model.bin` of a folder or hub repository, or `pretrained` itself."""
    path = Path(pretrained).expanduser()
    if not path.exists() and is_hub_id(pretrained):
        path = snapshot(pretrained, "", revision, ["*.json", "*.txt", "pytorch_model.bin"])
    path = path / "pytorch_model.bin" if path.is_dir() else path
    return path if path.is_file() and path.suffix == ".bin" else None


def _load_bin(path: Path, sha256: str | None) -> CLIPModel:
    if not path.with_name("config.json").is_file():  # transformers would take its defaults
        raise MissingWeightsError(f"{path.parent} has no config.json: give all files of the model.")
    if sha256 is not None:
        check_sha256([path], sha256)
    model = CLIPModel(CLIPConfig.from_pretrained(path.parent))
    # older files list the positions 0, 1, 2, ... among the weights
    tensors = {k: v for k, v in load_tensors(path).items() if not k.endswith("position_ids")}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CorruptWeightsError(
            f"{path} does not fit the config.json beside it: download the model again."
        ) from error
    return model
