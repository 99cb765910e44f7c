"""Temporal super-resolution beside a system that makes all frames itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from flat_artv import build
from small_checkpoints import SMALL, write_checkpoint
from test_decoder import loud, small_vae
from torch import Tensor

from lightning_artv import cli
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.media import read_image
from lightning_artv.networks.autoencoder import DiffusersAutoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.text_encoder import ByteTextEncoder
from lightning_artv.networks.unet import SmallUNet
from lightning_artv.pipelines.composing import compose
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.settings import ARTVSampling, Guidance
from lightning_artv.systems.base import Segment, VideoModel
from lightning_artv.systems.decoder.system import DecoderOptions, VideoDecoder
from lightning_artv.systems.videogen.refiner import RefinerOptions, TSRSampling
from lightning_artv.systems.videogen.slow_motion import SlowMotion
from lightning_artv.systems.videogen.tsr import FlowOptions, TemporalSuperResolution

SIDE = 16


def artv(autoencoder: Any = None) -> ARTV:
    torch.manual_seed(0)
    sampling = ARTVSampling(2, guidance=Guidance(0.0, 0.0, 1.0), noise_level=5, clip_latents=1.0)
    unet = SmallUNet((16, 32), text_width=16, norm_groups=8)
    autoencoder = autoencoder or PixelUnshuffleAutoencoder(2)
    system = build(
        unet, autoencoder, ByteTextEncoder(16), sampling=sampling, prediction_type="residual"
    )
    for parameter in system.trainable_parameters().values():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return system.eval()


def tsr(autoencoder: Any = None, refines: bool = True) -> TemporalSuperResolution:
    torch.manual_seed(3)
    part = TemporalSuperResolution.build(
        autoencoder or PixelUnshuffleAutoencoder(4),  # other latents than the system's
        SmallUNet((16, 32), text_width=16, norm_groups=8) if refines else None,
        flow=FlowOptions(levels=2, width=8),
        refiner=RefinerOptions("residual"),
        sampling=TSRSampling(steps=2),
    )
    return part.eval()


def image() -> DiffusersAutoencoder:
    return DiffusersAutoencoder(small_vae().requires_grad_(False))


def made(
    system: VideoModel, *lengths: int, keys: tuple[str, ...] = ("a", "b"), **given: Any
) -> Tensor:
    """Frames uint8 `[B, T, 3, H, W]` of prompts of so many frames."""
    first = given.pop("first", None)
    segments = [Segment(tuple(f"{i} {k}" for k in keys), n) for i, n in enumerate(lengths)]
    settings = dataclasses.replace(system.sampling, **given)
    frames = system.generate(segments, generators_for(0, keys), (SIDE, SIDE), first, settings)
    return torch.stack(list(frames), dim=1)


def test_the_systems_own_frames_stay_and_others_come_between() -> None:
    system = artv()
    slow = SlowMotion(system, tsr())
    own = made(system, 4)
    for passes in (0, 1, 3):
        step = 2**passes
        video = made(slow, 3 * step + 1, passes=passes)
        assert torch.equal(video[:, ::step], own)
        assert slow.frame_rate(dataclasses.replace(slow.sampling, passes=passes)) == 8 * step
    ends = slow.tsr.autoencoder.encode(torch.cat([own[:, 0], own[:, 1]])).split(2)
    middle = slow.tsr.autoencoder.decode(slow.tsr.warped(*ends))
    plain = made(SlowMotion(system, tsr(refines=False)), 3, passes=1)
    assert torch.equal(plain[:, 1], middle)


def test_any_number_of_frames_is_made_the_same_in_any_batch() -> None:
    slow = SlowMotion(artv(), tsr())
    long = made(slow, 18)
    assert slow.sampling.passes == 3  # type: ignore[attr-defined]
    for frames in (1, 2, 9, 10):
        assert torch.equal(made(slow, frames), long[:, :frames])
    alone = made(slow, 10, keys=("b",))[0]
    assert (alone.float() - long[1, :10].float()).abs().max() <= 1  # one image or two at once


def test_a_given_first_frame_is_the_first() -> None:
    first = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    slow = SlowMotion(artv(), tsr())
    assert slow.continues and torch.equal(made(slow, 5, first=first)[:, 0], first)


def test_a_storyboards_prompts_hold_where_they_did() -> None:
    slow = SlowMotion(artv(), tsr())
    asked: list[tuple[str, ...]] = []
    encoder = slow.system.text_encoder  # type: ignore[union-attr]
    encoder.register_forward_hook(lambda module, given, out: asked.append(tuple(given[0])))
    video = made(slow, 9, 7, passes=2)
    assert video.shape[1] == 16
    # frames 0, 4, 8 are of the first prompt, 12 and 16, of which the last is not shown, the second
    own = made(slow.system, 3, 2)  # type: ignore[arg-type]
    assert torch.equal(video[:, ::4], own[:, :4])
    assert ("0 a", "0 b") in asked and ("1 a", "1 b") in asked
    with pytest.raises(UserError, match=r"A prompt of 3 frames is over before .* lower passes"):
        made(slow, 9, 3, 8, passes=2)


def test_a_number_of_passes_that_is_none_is_refused() -> None:
    slow = SlowMotion(artv(), tsr())
    with pytest.raises(UserError, match="passes"):
        dataclasses.replace(slow.sampling, passes=-1)
    with pytest.raises(UserError, match="denoising steps"):  # the system's own checks too
        dataclasses.replace(slow.sampling, steps=0)
    with pytest.raises(UserError, match="18x16 is not divisible by 4"):
        slow.generate([Segment(("a",), 2)], generators_for(0, ["a"]), (18, 16))


def test_a_decoder_beside_both_decodes_all_frames() -> None:
    part = VideoDecoder.build(image(), DecoderOptions(layers="convolutions", trained="all"))
    system, between = artv(image()), tsr(image())
    plain = made(compose({"a": artv(image()), "t": between}), 5, passes=1)
    decoded = compose({"t": between, "d": loud(part).eval(), "a": system})
    assert isinstance(decoded, SlowMotion)
    changed = (made(decoded, 5, passes=1) != plain).flatten(2).any(dim=2)
    assert changed.all()
    with pytest.raises(UserError, match="holds all of ARTV: give it alone, or"):
        compose({"a": system, "t": between, "u": tsr()})


def test_the_command_takes_any_systems_folder_beside_the_part(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "artv.ckpt", SMALL)
    assert cli.main(["export", "--checkpoint", str(path), "--output", str(tmp_path / "f")]) == 0
    system = {
        "class_path": "lightning_artv.systems.videogen.tsr.TemporalSuperResolution.build",
        "init_args": {
            "autoencoder": SMALL["init_args"]["autoencoder"],  # type: ignore[index]
            "flow": {"levels": 2, "width": 8},
        },
    }
    part = write_checkpoint(tmp_path / "tsr.ckpt", system)
    shared = ["--prompt", "a dog", "--size", "16x16", "--device", "cpu"]
    for name, parts, frames, more in (
        ("plain", [tmp_path / "f"], 2, []),
        ("slow", [part, tmp_path / "f"], 5, ["--set", "passes=2"]),
    ):
        words = ["generate", "--checkpoint", *map(str, parts), "--frames", str(frames)]
        assert cli.main([*words, "--output", str(tmp_path / name), *shared, *more]) == 0
    plain, slow = (sorted((tmp_path / name).glob("*.png")) for name in ("plain", "slow"))
    assert len(plain) == 2 and len(slow) == 5
    for one, other in zip(plain, slow[::4], strict=True):
        assert torch.equal(read_image(one), read_image(other))
