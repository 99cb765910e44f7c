"""Tiny models in the real formats, made once a session."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from hypothesis import settings
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)

settings.register_profile("patient", deadline=None)  # no test fails because a machine is busy
settings.register_profile("ci", deadline=None, derandomize=True)  # a run that passed passes again
settings.load_profile("ci" if os.environ.get("CI") else "patient")

torch.set_num_threads(1)  # tiny tensors: a second thread only waits

LONGEST = (
    "test_end_to_end.py",
    "test_evaluation_command.py",
    "test_studies_runner.py",
    "test_fsdp.py",
    "test_run.py",
    "test_resume.py",
    "test_vidrd.py",
    "test_student.py",
    "test_gpu_script.py",
)
"""Files that take half a minute or more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: last, one worker would be alone with them."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion folder as diffusers writes it, with SD 2.1's layout and tiny widths."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sd")
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=1,
        attention_head_dim=[2, 4, 4, 4],
        cross_attention_dim=32,
        norm_num_groups=8,
        use_linear_projection=True,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=600,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=598,
            eos_token_id=599,
            pad_token_id=599,
        )
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=_tokenizer(folder),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP folder as transformers writes it, reading 32 x 32, with tiny widths."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    layers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    tokens = {"vocab_size": 600, "bos_token_id": 598, "eos_token_id": 599, "pad_token_id": 599}
    config = CLIPConfig(
        text_config=CLIPTextConfig(**layers, **tokens).to_dict(),
        vision_config=CLIPVisionConfig(**layers, image_size=32, patch_size=8).to_dict(),
        projection_dim=24,
    )
    CLIPModel(config).save_pretrained(folder)
    pixels = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pixels, _tokenizer(folder)).save_pretrained(folder)
    return folder


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer with one token a byte and no merges (its byte alphabet is GPT-2's)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(b) for b in printable]
    alphabet += [chr(256 + i) for i in range(256 - len(printable))]
    tokens = [*alphabet, *(a + "</w>" for a in alphabet)]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    vocabulary |= {"<|startoftext|>": 598, "<|endoftext|>": 599}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
    )


@pytest.fixture(scope="session")
def shapes_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards with 24 moving-shapes videos, as `python -m data_prep shapes` makes it."""
    from data_prep.options import ShapesOptions
    from data_prep.shards.shapes import write_shapes

    folder = tmp_path_factory.mktemp("shapes") / "shards"
    write_shapes(folder, ShapesOptions(count=24, shard_size=12))
    return folder
