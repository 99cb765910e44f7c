"""The diffusers pipeline: saved and loaded bit for bit, the same frames as our own generation, its
parts exchanged with Stable Diffusion's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from diffusers.utils import hub_utils
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from lightning_artv import ARTVPipeline
from lightning_artv.diffusion.noise import generators_for, randn
from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.errors import CorruptWeightsError, MissingWeightsError, UserError
from lightning_artv.generation import VideoRequest, generate_videos
from lightning_artv.networks.autoencoder import KLAutoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.text_encoder import ByteTextEncoder, CLIPTextEncoder
from lightning_artv.networks.unet import PretrainedUNet, SmallUNet
from lightning_artv.pipeline.folder import CHECKSUMS, INDEX, checksums, write_checksums
from lightning_artv.pipeline.schedulers import sampling_from, schedule_from, scheduler_of
from lightning_artv.storyboard import Shot
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.base import Guidance, SamplingSettings

KINDS = ("small", "sd")

SMALL_SAMPLING = SamplingSettings(
    steps=2,
    spacing="trailing",
    guidance=Guidance(0.0, 0.5, 1.0),
    noise_level=5,
    clip_latents=1.0,
    set_alpha_to_one=True,
)
SD_SAMPLING = SamplingSettings(steps=2, guidance=Guidance(0.25, 0.25, 6.5), noise_level=200)


def small_system(sampling: SamplingSettings = SMALL_SAMPLING, **options: Any) -> ARTV:
    torch.manual_seed(0)
    unet = SmallUNet((16, 32), text_width=16, norm_groups=8)
    arguments = {"prediction_type": "residual", "max_noise_level": 20, "mask_channels": "all"}
    encoder = ByteTextEncoder(16, max_words=6)
    return ARTV(
        unet, PixelUnshuffleAutoencoder(2), encoder, sampling=sampling, **{**arguments, **options}
    ).eval()


def sd_system(folder: Path, sampling: SamplingSettings = SD_SAMPLING) -> ARTV:
    torch.manual_seed(0)
    name = str(folder)
    parts = (PretrainedUNet(name), KLAutoencoder(name), CLIPTextEncoder(name))
    return ARTV(*parts, sampling=sampling).eval()


@torch.no_grad()
def trained(system: ARTV) -> ARTV:
    """As after training: what started at zero, or closed, did not stay there."""
    torch.manual_seed(1)
    for parameter in system.trainable_parameters().values():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    if system.mask is not None:
        system.mask.unet.conv_out.bias.zero_()
    return system


def make(kind: str, sd_folder: Path) -> ARTV:
    return trained(small_system() if kind == "small" else sd_system(sd_folder))


def generate(pipeline: ARTVPipeline, **options: Any) -> Tensor:
    """Three frames of 16x16 of one prompt, `[1, 3, 3, 16, 16]` in [0, 1]."""
    pipeline.set_progress_bar_config(disable=True)
    defaults = {"num_frames": 3, "height": 16, "width": 16, "seed": 3, "output_type": "pt"}
    return pipeline("a red dog", **{**defaults, **options}).frames


@pytest.fixture(scope="module")
def exported(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved pipeline of each kind."""
    folders = {kind: tmp_path_factory.mktemp("exported") / kind for kind in KINDS}
    for kind, folder in folders.items():
        ARTVPipeline.from_system(make(kind, sd_folder)).save_pretrained(folder)
    return folders


@pytest.fixture
def folder(exported: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the small one, to be damaged."""
    return Path(shutil.copytree(exported["small"], tmp_path / "copy"))


# Saved and loaded


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_makes_the_same_frames_bit_for_bit(
    kind: str, sd_folder: Path, tmp_path: Path
) -> None:
    pipeline = ARTVPipeline.from_system(make(kind, sd_folder))
    pipeline.save_pretrained(tmp_path / "saved")
    loaded = ARTVPipeline.from_pretrained(tmp_path / "saved")
    made = generate(pipeline)
    assert made.std() > 0.02  # no blank frames
    assert not made[0, 0].equal(made[0, 1])
    assert generate(loaded).equal(made)
    loaded.save_pretrained(tmp_path / "again")  # and nothing changes on the way
    assert checksums(tmp_path / "again")["unet/config.json"] != ""
    for name, digest in checksums(tmp_path / "saved").items():
        if name.endswith(".safetensors"):
            assert checksums(tmp_path / "again")[name] == digest


@pytest.mark.parametrize("kind", KINDS)
def test_same_frames_as_generate_videos(kind: str, sd_folder: Path, tmp_path: Path) -> None:
    system = make(kind, sd_folder)
    pipeline = ARTVPipeline.from_system(system)
    prompts = ("a red dog", "a cat")
    requests = [
        VideoRequest((Shot(prompt, 3),), tmp_path / str(i), 7 + i)
        for i, prompt in enumerate(prompts)
    ]
    generate_videos(system, requests, (16, 24), 8.0)
    pipeline.set_progress_bar_config(disable=True)
    videos = pipeline(prompts, num_frames=3, height=16, width=24, seed=7).frames
    for request, video in zip(requests, videos, strict=True):
        for path, frame in zip(sorted(request.output.iterdir()), video, strict=True):
            assert np.array_equal(np.asarray(Image.open(path)), np.asarray(frame))


SAVED_PARTS = {
    "conditioning": ("adapter", "anchor_encoder", "noise_level", "anchor_attention"),
    "mask_conditioning": ("adapter", "anchor_encoder", "noise_level", "anchor_attention"),
    "unet": ("mid_block",),
    "mask_unet": ("mid_block",),
    "text_encoder": ("embedding",),
}


@pytest.mark.parametrize(
    ("component", "part"), [(c, part) for c, parts in SAVED_PARTS.items() for part in parts]
)
def test_every_part_is_truly_saved(
    component: str, part: str, exported: dict[str, Path], tmp_path: Path
) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    before = generate(pipeline)
    with torch.no_grad():
        for parameter in getattr(getattr(pipeline, component), part).parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    changed = generate(pipeline)
    assert not changed.equal(before)  # the part matters
    pipeline.save_pretrained(tmp_path / "changed")
    loaded = ARTVPipeline.from_pretrained(tmp_path / "changed")
    assert generate(loaded).equal(changed)


def test_every_weight_of_the_system_is_in_the_folder(exported: dict[str, Path]) -> None:
    system = trained(small_system())
    again = ARTVPipeline.from_pretrained(exported["small"]).to_system()
    theirs = again.state_dict()
    assert all(theirs[name].equal(tensor) for name, tensor in system.state_dict().items())


def test_a_system_without_mask_has_no_mask_parts(tmp_path: Path) -> None:
    pipeline = ARTVPipeline.from_system(trained(small_system(static_noise="none")))
    pipeline.save_pretrained(tmp_path / "x")
    assert not list((tmp_path / "x").glob("mask*"))
    loaded = ARTVPipeline.from_pretrained(tmp_path / "x")
    assert loaded.mask_unet is None
    assert generate(loaded).equal(generate(pipeline))
    with pytest.raises(UserError, match="go together"):
        ARTVPipeline(**{**loaded.components, "mask_unet": loaded.unet}, static_noise="none")


def test_the_folder_says_its_settings(tmp_path: Path) -> None:
    system = trained(small_system(static_noise="residual", use_anchor=False, mask_bias=-1.0))
    ARTVPipeline.from_system(system).save_pretrained(tmp_path / "x")
    again = ARTVPipeline.from_pretrained(tmp_path / "x").to_system()
    names = ("static_noise", "use_anchor", "mask_bias", "max_noise_level", "prediction_type")
    assert [getattr(again, n) for n in names] == [getattr(system, n) for n in names]
    assert again.sampling == system.sampling


# Stable Diffusion's parts


@pytest.fixture(scope="module")
def untrained(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion with silent ART•V parts."""
    folder = tmp_path_factory.mktemp("untrained") / "x"
    ARTVPipeline.from_system(sd_system(sd_folder)).save_pretrained(folder)
    return folder


SD_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def sd_image(pipeline: StableDiffusionPipeline, **options: Any) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    arguments = {"height": 16, "width": 16, "num_inference_steps": 3, "output_type": "np"}
    arguments["generator"] = torch.Generator().manual_seed(0)
    return pipeline("a red dog", **{**arguments, **options}).images[0]


def test_stable_diffusions_parts_swap_in(sd_folder: Path, untrained: Path) -> None:
    sd = StableDiffusionPipeline.from_pretrained(sd_folder)
    parts = {name: getattr(sd, name) for name in SD_PARTS}
    swapped = ARTVPipeline.from_pretrained(untrained, **parts)
    own = ARTVPipeline.from_pretrained(untrained)
    built = ARTVPipeline(**{**own.components, **parts})
    assert swapped.unet is sd.unet
    before = sd_image(sd)
    made = generate(own)
    assert generate(swapped).equal(made)
    assert generate(built, num_inference_steps=2).equal(made)
    assert np.array_equal(sd_image(sd), before)  # its U-Net was given back as it was


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_a_swapped_part_is_the_one_that_runs(name: str, sd_folder: Path, untrained: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(untrained)
    before = generate(pipeline)
    sd = StableDiffusionPipeline.from_pretrained(sd_folder)
    other = getattr(sd, name)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    setattr(pipeline, name, other)
    assert not generate(pipeline).equal(before)


def test_exported_parts_swap_into_stable_diffusion(sd_folder: Path, untrained: Path) -> None:
    sd = StableDiffusionPipeline.from_pretrained(sd_folder)
    ours = ARTVPipeline.from_pretrained(untrained)
    parts = {name: getattr(ours, name) for name in SD_PARTS}
    theirs = StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    assert np.array_equal(sd_image(theirs), sd_image(sd))
    loaded = StableDiffusionPipeline.from_pretrained(untrained)  # the folder itself, too
    assert np.array_equal(sd_image(loaded), sd_image(sd))
    assert ours.unet.state_dict().keys() == sd.unet.state_dict().keys()
    config = json.loads((untrained / "unet" / "config.json").read_text())
    assert config["class_embed_type"] is None


def test_the_untrained_first_frame_is_stable_diffusions(sd_folder: Path, untrained: Path) -> None:
    sd = StableDiffusionPipeline.from_pretrained(sd_folder)
    generators = generators_for(3, ["video"])
    randn(generators, (3, 4, 8, 8))  # the augmentation of the blank frames
    image = sd_image(sd, latents=randn(generators, (4, 8, 8)), guidance_scale=7.5)
    pipeline = ARTVPipeline.from_pretrained(untrained)
    ours = generate(pipeline, num_frames=1, num_inference_steps=3, guidance_scale=7.5)
    difference = np.abs(ours[0, 0].permute(1, 2, 0).numpy() - image)
    assert difference.max() <= 1.01 / 255


def test_the_unet_is_plain_after_a_failure(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["sd"])
    keys = list(pipeline.unet.state_dict())

    def fail(*_: Any) -> None:
        assert "anchor" in "".join(pipeline.unet.state_dict())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(pipeline, callback_on_step_end=fail)
    assert list(pipeline.unet.state_dict()) == keys
    assert pipeline.unet.config.class_embed_type is None


def test_parts_that_do_not_fit_are_one_sentence(exported: dict[str, Path], sd_folder: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["small"])
    sd = StableDiffusionPipeline.from_pretrained(sd_folder)
    pipeline.unet = sd.unet
    with pytest.raises(UserError, match="does not fit the ART•V parts"):
        generate(pipeline)
    clip = ARTVPipeline.from_pretrained(exported["sd"], tokenizer=None)
    with pytest.raises(UserError, match="needs its tokenizer"):
        generate(clip)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_close(kind: str, exported: dict[str, Path]) -> None:
    exact = generate(ARTVPipeline.from_pretrained(exported[kind]))
    half = ARTVPipeline.from_pretrained(exported[kind], torch_dtype=torch.bfloat16)
    assert half.unet.dtype == half.conditioning.dtype == torch.bfloat16
    difference = (generate(half) - exact).abs().mean()
    assert 0 < difference < 0.05


# Schedulers


@st.composite
def samplings(draw: st.DrawFn) -> SamplingSettings:
    return SamplingSettings(
        steps=draw(st.integers(1, 50)),
        sampler=draw(st.sampled_from(["ddim", "dpm-solver++"])),
        spacing=draw(st.sampled_from(["leading", "trailing", "linspace"])),
        guidance=Guidance(*draw(st.tuples(*[st.floats(0, 9)] * 3))),
        clip_latents=draw(st.sampled_from([None, 1.0, 2.5])),
        set_alpha_to_one=draw(st.booleans()),
    )


SYSTEM = small_system()


@settings(max_examples=30, deadline=None)
@given(samplings())
def test_a_scheduler_says_the_sampling_settings(sampling: SamplingSettings) -> None:
    SYSTEM._sampling = sampling
    scheduler = scheduler_of(SYSTEM)
    again = type(scheduler).from_config(json.loads(scheduler.to_json_string()))
    assert sampling_from(again, SamplingSettings(steps=sampling.steps)) == SamplingSettings(
        **{**vars(sampling), "guidance": Guidance()}
    )


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
def test_an_unset_last_step_is_the_samplers_own(sampler: str) -> None:
    SYSTEM._sampling = SamplingSettings(sampler=sampler)
    found = sampling_from(scheduler_of(SYSTEM), SamplingSettings())
    assert found.set_alpha_to_one is (sampler == "dpm-solver++")


@pytest.mark.parametrize(
    "schedule",
    [
        NoiseSchedule.scaled_linear(),
        NoiseSchedule.linear(),
        NoiseSchedule.cosine(),
        NoiseSchedule.linear(40, 1e-3, 0.5),
    ],
)
def test_a_scheduler_says_the_noise_schedule_exactly(schedule: NoiseSchedule) -> None:
    system = small_system(SamplingSettings())
    system.schedule = schedule
    scheduler = scheduler_of(system)
    again = DDIMScheduler.from_config(json.loads(scheduler.to_json_string()))
    assert schedule_from(again).betas.equal(schedule.betas)
    assert torch.allclose(again.alphas_cumprod.double(), schedule.alpha_bar, rtol=1e-4, atol=1e-7)


def test_another_scheduler_is_another_sampler(exported: dict[str, Path]) -> None:
    pipeline = ARTVPipeline.from_pretrained(exported["sd"])
    ddim = generate(pipeline, num_inference_steps=4)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    dpm = generate(pipeline, num_inference_steps=4)
    assert not dpm.equal(ddim)
    system = pipeline.to_system()
    assert system.sampling.sampler == "dpm-solver++"
    pipeline = ARTVPipeline.from_pretrained(exported["sd"])
    pipeline.scheduler = PNDMScheduler.from_config(
        pipeline.scheduler.config, skip_prk_steps=True, steps_offset=1
    )
    with pytest.warns(UserWarning, match="samples with DDIM"):
        assert generate(pipeline, num_inference_steps=4).equal(ddim)


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (EulerDiscreteScheduler(), "does not sample with EulerDiscreteScheduler"),
        (DDIMScheduler(steps_offset=0), "steps_offset=0"),
        (DDIMScheduler(steps_offset=1, rescale_betas_zero_snr=True), "rescale_betas_zero_snr=True"),
        (DPMSolverMultistepScheduler(steps_offset=1, solver_order=3), "solver_order=3"),
        (DPMSolverMultistepScheduler(use_karras_sigmas=True), "use_karras_sigmas=True"),
    ],
)
def test_schedulers_that_we_do_not_have_are_refused(scheduler: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        sampling_from(scheduler, SamplingSettings())


# The call


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
        ({"num_inference_steps": 0}, "0 steps"),
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


# A folder that cannot be used


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flip(path: Path) -> None:
    """One bit of the last byte: as many bytes, and a header that reads well."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def edit_index(folder: Path, **changes: Any) -> None:
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps({**index, **changes}))
    write_checksums(folder)


WEIGHTS = "conditioning/diffusion_pytorch_model.safetensors"

DAMAGES: dict[str, tuple[Callable[[Path], Any], type[UserError], str]] = {
    "no folder": (shutil.rmtree, MissingWeightsError, "does not exist"),
    "another folder": (lambda f: (f / INDEX).unlink(), MissingWeightsError, "has no model_index"),
    "no part": (lambda f: shutil.rmtree(f / "unet"), MissingWeightsError, "no subfolder unet"),
    "no file": (lambda f: (f / WEIGHTS).unlink(), MissingWeightsError, "no file conditioning/"),
    "one bit": (lambda f: flip(f / WEIGHTS), CorruptWeightsError, "has not the sha256"),
    "cut": (lambda f: cut(f / WEIGHTS), CorruptWeightsError, "has not the sha256"),
    "cut, no sums": (
        lambda f: [cut(f / WEIGHTS), (f / CHECKSUMS).unlink()],
        CorruptWeightsError,
        "cannot be loaded as an ARTVPipeline",
    ),
    "no file, no sums": (
        lambda f: [(f / WEIGHTS).unlink(), (f / CHECKSUMS).unlink()],
        CorruptWeightsError,
        "cannot be loaded as an ARTVPipeline",
    ),
    "cut index": (lambda f: cut(f / INDEX), CorruptWeightsError, "is no JSON"),
    "list as index": (
        lambda f: (f / INDEX).write_text("[]"),
        CorruptWeightsError,
        "describes no pipeline",
    ),
    "cut sums": (lambda f: cut(f / CHECKSUMS, 0.99), MissingWeightsError, "has no file"),
    "no sums": (lambda f: (f / CHECKSUMS).write_text("hm"), CorruptWeightsError, "is damaged"),
    "sums elsewhere": (
        lambda f: (f / CHECKSUMS).write_text(f"{'0' * 64}  ../../etc/passwd\n"),
        CorruptWeightsError,
        "is damaged",
    ),
    "other pipeline": (
        lambda f: edit_index(f, _class_name="StableDiffusionPipeline"),
        CorruptWeightsError,
        "not an ARTVPipeline",
    ),
    "other class": (
        lambda f: edit_index(f, unet=["diffusers", "NoSuchUNet"]),
        CorruptWeightsError,
        "NoSuchUNet",
    ),
    "other library": (
        lambda f: edit_index(f, unet=["os", "system"]),
        CorruptWeightsError,
        "a part of os",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_one_sentence(damage: str, folder: Path) -> None:
    harm, error_class, words = DAMAGES[damage]
    harm(folder)
    with pytest.raises(error_class, match=words) as error:
        ARTVPipeline.from_pretrained(folder)
    assert type(error.value) is error_class
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["None.py", "unet/evil.py", "pipeline.py"])
def test_code_in_a_folder_is_refused_not_run(name: str, folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "evil-was-here"
    (folder / name).write_text(f"open({str(witness)!r}, 'w')\nclass ARTVPipeline: pass\n")
    with pytest.raises(CorruptWeightsError, match="Python code"):
        ARTVPipeline.from_pretrained(folder)
    assert not witness.exists()


def test_only_safetensors_are_written_and_read(folder: Path, tmp_path: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(folder, use_safetensors=False)
    with pytest.raises(UserError, match="safetensors only"):
        pipeline.save_pretrained(tmp_path / "x", safe_serialization=False)
    assert not (tmp_path / "x").exists()
    found = {p.suffix for p in folder.rglob("*") if p.is_file()}
    assert found == {".json", ".safetensors", ".txt", ".md"}


def test_a_change_of_ones_own_needs_the_checksums_gone(folder: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(folder)
    with torch.no_grad():
        pipeline.unet.conv_in.weight.mul_(2)
    pipeline.unet.save_pretrained(folder / "unet")
    with pytest.raises(CorruptWeightsError, match=r"or remove sha256\.txt"):
        ARTVPipeline.from_pretrained(folder)
    (folder / CHECKSUMS).unlink()
    assert generate(ARTVPipeline.from_pretrained(folder)).equal(generate(pipeline))


def test_saving_over_a_folder_renews_its_checksums(folder: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(folder)
    with torch.no_grad():
        pipeline.unet.conv_in.weight.mul_(2)
    pipeline.save_pretrained(folder)
    assert generate(ARTVPipeline.from_pretrained(folder)).equal(generate(pipeline))


def test_push_to_hub_uploads_our_card(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import ModelCard, RepoUrl

    def upload(folder_path: str, repo_id: str, **_: Any) -> str:
        shutil.copytree(folder_path, tmp_path / "uploaded")
        return repo_id

    url = RepoUrl("https://huggingface.co/me/artv")
    monkeypatch.setattr(hub_utils, "create_repo", lambda *_, **__: url)
    monkeypatch.setattr(
        hub_utils, "load_or_create_model_card", lambda *_, **__: ModelCard("An empty card.")
    )
    monkeypatch.setattr(hub_utils, "upload_folder", upload)
    pipeline = ARTVPipeline.from_pretrained(folder)
    assert pipeline.push_to_hub("me/artv") == "me/artv"
    card = (tmp_path / "uploaded" / "README.md").read_text()
    assert 'from_pretrained("me/artv")' in card and "empty card" not in card
    again = ARTVPipeline.from_pretrained(tmp_path / "uploaded")
    assert generate(again).equal(generate(pipeline))
