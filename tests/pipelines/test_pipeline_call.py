"""What a call takes and gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_systems import generate
from torch import Tensor

from lightning_artv import ARTVPipeline
from lightning_artv.errors import UserError


def test_forms_of_output(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    tensor = generate(pipeline)
    assert tensor.shape == (1, 3, 3, 16, 16) and tensor.dtype == torch.float32
    assert tensor.min() >= 0 and tensor.max() <= 1
    array = generate(pipeline, output_type="np")
    assert np.allclose(array, tensor.permute(0, 1, 3, 4, 2).numpy())
    pictures = generate(pipeline, output_type="pil")
    assert np.array_equal(np.asarray(pictures[0][2]), np.rint(array[0, 2] * 255).astype(np.uint8))
    (frames,) = pipeline(
        "a red dog", num_frames=3, height=16, width=16, seed=3, output_type="pt", return_dict=False
    )
    assert frames.equal(tensor)


def test_a_video_does_not_depend_on_its_batch(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    options = {"num_frames": 2, "height": 16, "width": 16, "output_type": "pt"}
    pipeline.set_progress_bar_config(disable=True)
    both = pipeline(["a", "b"], seed=5, **options).frames
    torch.testing.assert_close(pipeline("b", seed=6, **options).frames[0], both[1])
    twice = pipeline("a", num_videos_per_prompt=2, seed=5, **options).frames
    torch.testing.assert_close(twice[0], both[0])
    assert not twice[0].equal(twice[1])


def test_generators(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    pipeline.set_progress_bar_config(disable=True)

    def made(generator: Any = None, prompts: Any = ("a", "a")) -> Tensor:
        options = {"num_frames": 2, "height": 16, "width": 16, "output_type": "pt"}
        return pipeline(prompts, generator=generator, **options).frames

    def seeded(seed: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    one = made(seeded())
    assert one.equal(made(seeded()))
    assert not one[0].equal(one[1])
    torch.testing.assert_close(made(seeded(), "a")[0], one[0])
    each = made([seeded(1), seeded()])
    torch.testing.assert_close(each[1], one[0])
    assert not made().equal(made())  # neither: another video each time
    with pytest.raises(UserError, match="1 generators for 2 videos"):
        made([seeded()])
    with pytest.raises(UserError, match="not both"):
        generate(pipeline, generator=seeded())


def test_first_frames(exported: dict[str, Path], tmp_path: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    picture = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    image.save(tmp_path / "first.png")
    forms: list[Any] = [picture, image, str(tmp_path / "first.png"), [image], picture[None]]
    videos = [generate(pipeline, image=form) for form in forms]
    assert (videos[0][0, 0] * 255).round().to(torch.uint8).equal(picture)
    assert all(video.equal(videos[0]) for video in videos)
    assert not videos[0][0, 1].equal(generate(pipeline)[0, 1])
    with pytest.raises(UserError, match="2 first frames for 1 videos"):
        generate(pipeline, image=[image, image])
    with pytest.raises(UserError, match=r"uint8 \[3, H, W\]"):
        generate(pipeline, image=picture.float())
    with pytest.raises(UserError, match="no image"):
        generate(pipeline, image="none.png")


def test_options_reach_the_sampler(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    default = generate(pipeline)
    same = generate(
        pipeline,
        num_inference_steps=2,
        guidance_scale=2.0,  # our weight of 1
        guidance_references=0.0,
        guidance_anchor=0.5,
        noise_level=5,
    )
    assert same.equal(default)
    for option in (
        {"num_inference_steps": 3},
        {"guidance_scale": 3.0},
        {"guidance_references": 1.0},
        {"guidance_anchor": 0.0},
        {"noise_level": 0},
    ):
        assert not generate(pipeline, **option).equal(default), option


def test_the_callback_sees_every_step(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    image = Image.new("RGB", (16, 16))
    for first, frames in ((None, [0, 0, 1, 1, 2, 2]), (image, [1, 1, 2, 2])):
        seen: list[tuple[int, int]] = []

        def look(
            pipe: ARTVPipeline, step: int, timestep: int, values: dict[str, Any], into: Any = seen
        ) -> None:
            assert pipe is pipeline and 0 <= timestep < 1000
            assert values["clean"].shape == values["mask"].shape == (1, 12, 8, 8)
            into.append((step, values["frame"]))

        generate(pipeline, image=first, callback_on_step_end=look)
        assert seen == list(enumerate(frames))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_type": "latent"}, "choose pil, np or pt"),
        ({"height": 15}, "not divisible"),
        ({"noise_level": 21}, "Noise level 21"),
        ({"num_inference_steps": 0}, "denoising steps"),
        ({"num_frames": 0}, "at least 1 frame"),
        ({"num_videos_per_prompt": 0}, "Nothing to generate"),
        ({"height": None}, "does not say its frame size"),
    ],
)
def test_bad_requests_are_one_sentence(
    options: dict[str, Any], words: str, exported: dict[str, Path]
) -> None:
    with pytest.raises(UserError, match=words) as error:
        generate(ARTVPipeline.from_pretrained(exported["small"]), **options)
    assert "\n" not in str(error.value)


def test_offloading_is_refused(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    with pytest.raises(ValueError, match="Model CPU offload cannot be enabled"):
        pipeline.enable_model_cpu_offload(device="cpu")
    for name in ("unet", "conditioning", "mask_unet", "mask_conditioning", "text_encoder", "vae"):
        getattr(pipeline, name).to("meta")  # as sequential offloading leaves them
    with pytest.raises(UserError, match="Sequential CPU offload"):
        generate(pipeline)
