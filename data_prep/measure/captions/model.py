"""Any image-text-to-text model of transformers, asked about pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from data_prep.measure.clip_score import device_of
from data_prep.options.captions import AskOptions
from lightning_artv.errors import MissingWeightsError, UserError
from lightning_artv.files import one_line
from lightning_artv.given import check_weights_given, is_hub_id
from lightning_artv.networks.pretrained import find_model, load_model, snapshot
from lightning_artv.networks.weight_files import digest_of, first_line

_FILES = ("*.json", "*.txt", "*.jinja", "*.model", "model.safetensors", "model-*.safetensors")
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError)


class Answerer:
    """Loads a model and its processor once; answers are the likeliest words, so the same always.

    No code of a repository is run, and only safetensors are read. Videos are asked about one by
    one: what is said of one does not depend on its neighbours.

    Args:
        pretrained: folder written by `save_pretrained`, or hub id.
        options: options of the model.

    Attributes:
        name: name of the model, and the start of its weights' sha256.

    Raises:
        MissingWeightsError: the model or its processor is not there.
        CorruptWeightsError: its files are damaged.
        UserError: it is no image-text-to-text model, or a device that this machine lacks.
    """

    def __init__(self, pretrained: str, options: AskOptions) -> None:
        self._device = device_of(options.device)
        if self._device.type == "cpu":
            torch.set_num_threads(1)
        check_weights_given(pretrained)
        folder = Path(pretrained).expanduser()
        if is_hub_id(pretrained):
            folder = snapshot(pretrained, "", options.revision, _FILES)
        _, _, weights = find_model(AutoModelForImageTextToText, str(folder), "")
        _check_kind(folder, pretrained)
        model: Any = load_model(AutoModelForImageTextToText, str(folder), "")
        self._model = model.to(self._device, getattr(torch, options.dtype)).eval()
        self.name = f"{Path(pretrained).name} sha256:{digest_of(weights.files)[:12]}"
        try:
            self._processor: Any = AutoProcessor.from_pretrained(folder)
            self._processor.tokenizer.pad_token_id  # noqa: B018 - a processor of text, too
        except _UNREADABLE as error:
            raise MissingWeightsError(
                f"{folder} holds no processor of pictures and text ({first_line(error)}): give a "
                f"folder with all files of the model."
            ) from error

    @cached_property
    def chats(self) -> bool:
        """Whether the model has a chat template."""
        return bool(getattr(self._processor, "chat_template", None))

    @torch.no_grad()
    def answer(self, frames: Tensor, prompt: str, max_tokens: int) -> str:
        """What the model says, in one line.

        Args:
            frames: uint8 `[N, 3, H, W]`; a model that does not chat sees the first one.
            prompt: what it is asked, or goes on from.
            max_tokens: tokens that the answer may have.
        """
        pictures = [Image.fromarray(f.permute(1, 2, 0).cpu().numpy()) for f in frames]
        inputs = self._chat(pictures, prompt) if self.chats else self._plain(pictures, prompt)
        inputs = inputs.to(self._device, self._model.dtype)
        tokens = self._model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        asked = inputs["input_ids"]
        if torch.equal(tokens[:, : asked.shape[1]], asked):  # decoders repeat what they were asked
            tokens = tokens[:, asked.shape[1] :]
        (text,) = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return one_line(text)

    def _chat(self, pictures: Sequence[Image.Image], prompt: str) -> Any:
        content = [{"type": "image", "image": picture} for picture in pictures]
        messages = [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}]
        return self._processor.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def _plain(self, pictures: Sequence[Image.Image], prompt: str) -> Any:
        return self._processor(images=pictures[0], text=prompt, return_tensors="pt")


def _check_kind(folder: Path, name: str) -> None:
    """Raises:
    UserError: transformers has no such model of pictures and text.
    """
    try:
        kind = AutoConfig.from_pretrained(folder).model_type
    except _UNREADABLE as error:
        raise UserError(
            f"transformers does not know the model {name} ({first_line(error)}): give one that "
            f"AutoModelForImageTextToText loads without code of its own."
        ) from error
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise UserError(
            f"{name} is a {kind}, which answers no questions about pictures: give an "
            f"image-text-to-text model, such as BLIP-2 or SmolVLM."
        )
