"""VideoGen generates: from a picture, through stages and passes, of parts in any order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from videogen_parts import FEW, SIZE, small_base, small_cascade, watch

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import Generators, generators_for
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import Autoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.text_encoder import ByteTextEncoder
from lightning_artv.systems.base import LossOutput, Segment, Trainable, VideoModel
from lightning_artv.systems.videogen.cascade import doubled, resized
from lightning_artv.systems.videogen.settings import Guidance, UpperSampling, VideoGenSampling
from lightning_artv.systems.videogen.stage import StageTraining
from lightning_artv.systems.videogen.video import VideoGen

KEYS = ("a", "b")


class Between(Trainable):
    """Temporal super-resolution by the mean of both ends."""

    part = "tsr"

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.autoencoder: Autoencoder = PixelUnshuffleAutoencoder(factor)
        self.calls: list[tuple[int, ...]] = []

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        raise NotImplementedError

    def slow_down(self, latents: Tensor, generators: Generators) -> Tensor:
        self.calls.append(tuple(latents.shape))
        middles = (latents[:, 1:] + latents[:, :-1]) / 2
        woven = torch.stack([latents[:, :-1], middles], dim=2).flatten(1, 2)
        return torch.cat([woven, latents[:, -1:]], dim=1)


class Inverting(PixelUnshuffleAutoencoder):
    """A decoder that can be told from the image decoder: its clips are negatives."""

    def decode_clip(self, latents: Tensor, before: Tensor | None = None) -> Tensor:
        return 255 - super().decode_clip(latents, before)


class Decoder(Between):
    """A video decoder."""

    part = "decoder"
    slow_down = None  # type: ignore[assignment]

    def video_autoencoder(self) -> Autoencoder:
        return Inverting(2)


def pictures(size: int, count: int = 2) -> Tensor:
    g = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=g)


def made(
    system: VideoModel,
    frames: int,
    size: int = SIZE,
    keys: tuple[str, ...] = KEYS,
    first: Tensor | None = None,
    **settings: Any,
) -> Tensor:
    """Frames uint8 `[B, T, 3, H, W]`."""
    first = pictures(size, len(keys)) if first is None else first
    sampling = dataclasses.replace(system.sampling, **settings)
    segments = [Segment(tuple(f"text {k}" for k in keys), frames)]
    size_ = (first.shape[-2], first.shape[-1])
    return torch.stack(
        list(system.generate(segments, generators_for(0, keys), size_, first, sampling)), dim=1
    )


def whole(*more: Trainable, cascade: int = 2) -> VideoGen:
    stages = [small_base(), *(small_cascade(k) for k in range(1, cascade + 1))]
    return VideoGen.compose({f"{i}.ckpt": part for i, part in enumerate([*stages, *more])})


# Base alone


def test_the_base_alone_makes_videos_of_any_length_and_says_what_is_missing() -> None:
    base = small_base()
    longer, shorter = made(base, 11), made(base, 4)
    assert longer.shape == (2, 11, 3, SIZE, SIZE)
    assert torch.equal(longer[:, :4], shorter)
    assert base.note.startswith("Made without the cascade, temporal super-resolution, the video")


def test_the_next_clips_reference_is_the_last_frame_and_is_not_shown_again() -> None:
    base = small_base()
    video = made(base, 7)
    second = watch(base)
    again = made(base, 7)
    assert (again[:, 4] != video[:, 4]).any()  # the network answers zeros now
    shown = [z[:, 0, 12:] for z, *_ in second.shown]
    last = base.autoencoder.encode(again[:, 3])
    assert len(shown) == 4 and torch.equal(shown[2], last) and torch.equal(shown[3], last)


def test_a_video_does_not_depend_on_its_batch_mates() -> None:
    system = whole(Between())
    together = made(system, 9, 4 * SIZE, passes=1)
    for i, key in enumerate(KEYS):
        alone = made(system, 9, keys=(key,), first=pictures(4 * SIZE)[i : i + 1], passes=1)
        assert (alone[0].int() - together[i].int()).abs().max() <= 1


def test_text_and_reference_are_encoded_once_a_stage_and_clip() -> None:
    system = whole()
    texts, references = [], []
    encoder, autoencoder = system.base.text_encoder, system.base.autoencoder
    encoder.register_forward_hook(lambda *_: texts.append(1))
    own = autoencoder.encode
    autoencoder.encode = lambda pixels, noise=None: (  # type: ignore[method-assign]
        references.append(tuple(pixels.shape)) or own(pixels, noise)
    )
    made(system, 8, 4 * SIZE)
    assert len(texts) == 3 * 2  # three clips: a prompt and no text each
    assert references == [(2, 3, side, side) for side in (8, 16, 32)] * 3


@pytest.mark.parametrize(("guidance", "rows"), [((0, 0), 1), ((2, 0), 2), ((0, 1), 2), ((3, 1), 3)])
def test_a_weight_of_0_costs_no_evaluation(guidance: tuple[float, float], rows: int) -> None:
    base = small_base()
    network = watch(base)
    made(base, 4, guidance=Guidance(*guidance))
    assert [len(z) for z, *_ in network.shown] == [2 * rows] * 2
    if guidance == (0, 1):
        z = network.shown[0][0]
        assert (z[2:, :, 12:] == 0).all() and (z[:2, 0, 12:] != 0).any()


def test_the_first_frame_is_kept_only_where_asked() -> None:
    system, first = whole(), pictures(4 * SIZE)
    assert torch.equal(made(system, 4, first=first, keep_reference=True)[:, 0], first)
    assert (made(system, 4, first=first)[:, 0] != first).any()


def test_a_reference_swapped_changes_all_frames() -> None:
    base, first = small_base(), pictures(SIZE)
    one, other = made(base, 4, first=first), made(base, 4, first=first.flip(0))
    assert all((one[:, i] != other[:, i]).any() for i in range(4))


# The cascade


def test_a_stage_is_shown_the_generated_stage_before_and_the_picture_at_its_size() -> None:
    system, first = whole(cascade=1), pictures(2 * SIZE)
    network = watch(system.cascade[0])
    upper = UpperSampling(2, Guidance(0.0), noise=0)
    made(system, 4, first=first, upper=upper)
    z, _, _, labels = network.shown[0]
    base_frames = small_base()
    small = resized(first, (SIZE, SIZE))
    encoded = system.autoencoder.encode
    assert torch.equal(z[:, 0, 12:24], encoded(first))
    assert (z[:, 1:, 12:24] == 0).all()
    generators = generators_for(0, KEYS)
    segments = [Segment(("text a", "text b"), 4)]
    seen: list[Tensor] = []
    list(
        base_frames.generate(
            segments, generators, (SIZE, SIZE), small, FEW, lambda s: seen.append(s.clean)
        )
    )
    expected = doubled(system.autoencoder, sample_of(base_frames, small))
    torch.testing.assert_close(z[:, :, 24:], expected, atol=1e-5, rtol=1e-5)
    assert labels.shape[-1] == 32 and seen


def sample_of(base: Any, first: Tensor) -> Tensor:
    """The base's latents for the prompts of `made`."""
    from lightning_artv.systems.videogen.clip import make_clip
    from lightning_artv.systems.videogen.denoiser import StageConditions

    text = base.text_encoder(["text a", "text b"])
    conditions = StageConditions(text, torch.full((2,), 8.0), base.autoencoder.encode(first))
    generators = generators_for(0, KEYS)
    with torch.no_grad():
        return make_clip(base.denoiser, conditions, base.text_encoder(["", ""]), FEW, generators)


def test_noise_on_the_stage_before_is_added_and_told() -> None:
    system = whole(cascade=1)
    network = watch(system.cascade[0])
    for noise in (0, 50):
        made(system, 4, 2 * SIZE, upper=UpperSampling(1, Guidance(0.0), noise))
    (clean, *_, zero), (noised, *_, level) = network.shown
    difference = (noised - clean)[:, :, 24:]
    assert 0.1 < difference.std() < 0.5
    assert torch.equal(noised[:, :, 12:24], clean[:, :, 12:24])
    assert (zero != level).any()


def test_fewer_stages_make_smaller_frames() -> None:
    system, base = whole(), small_base()
    assert torch.equal(made(system, 4, SIZE, stages=1), made(base, 4, SIZE))
    with pytest.raises(UserError, match="With stages=2 of 3 frames are smaller: add --size 16x16"):
        made(system, 4, 4 * SIZE, stages=2)


# Composition


def test_parts_compose_in_any_order() -> None:
    parts = {
        "base": small_base(),
        "one": small_cascade(1),
        "two": small_cascade(2),
        "tsr": Between(),
        "decoder": Decoder(),
    }
    videos = []
    for names in (list(parts), list(parts)[::-1], ["two", "tsr", "base", "decoder", "one"]):
        system = VideoGen.compose({name: parts[name] for name in names})
        videos.append(made(system, 13, 4 * SIZE, passes=2))
        assert system.note == ""
    assert torch.equal(videos[0], videos[1]) and torch.equal(videos[0], videos[2])
    assert videos[0].shape == (2, 13, 3, 32, 32)
    assert system.origin.size == (32, 32) and system.size_multiple == 8
    held = [stage.autoencoder for stage in (system.base, *system.cascade, system.tsr)]
    assert len(set(held)) == 1
    assert len({stage.text_encoder for stage in (system.base, *system.cascade)}) == 1


def test_passes_double_and_the_rate_with_them() -> None:
    tsr = Between()
    system = whole(tsr, cascade=0)
    for passes, frames in ((0, 4), (1, 7), (2, 13), (3, 25)):
        settings = dataclasses.replace(system.sampling, passes=passes)
        assert system.frame_rate(settings) == 8 * 2**passes
        tsr.calls.clear()
        assert made(system, frames, passes=passes).shape[1] == frames
        assert [shape[1] for shape in tsr.calls] == [4, 7, 13][:passes]
    assert system.frame_rate(system.sampling) == 64
    assert small_base().frame_rate(FEW) == 8
    true, slow = made(system, 4, passes=0), made(system, 7, passes=1)
    assert torch.equal(slow[:, ::2], true)


def test_a_video_decoder_takes_the_image_decoders_place() -> None:
    plain, decoded = whole(cascade=0), whole(Decoder(), cascade=0)
    assert torch.equal(made(decoded, 4), 255 - made(plain, 4))
    assert "decoder" in plain.note and "decoder" not in decoded.note


def test_stages_with_text_encoders_that_were_trained_keep_their_own() -> None:
    base, upper = small_base(), small_cascade(1)
    torch.manual_seed(3)
    upper.text_encoder = ByteTextEncoder(16)
    system = VideoGen(base, [upper])
    assert system.cascade[0].text_encoder is not system.base.text_encoder
    assert made(system, 4, 2 * SIZE).shape[1] == 4


def frozen(text_encoder: nn.Module) -> Any:
    return text_encoder.requires_grad_(False)


def other_text() -> Trainable:
    upper = small_cascade(1)
    torch.manual_seed(3)
    upper.text_encoder = frozen(ByteTextEncoder(16))
    return upper


def of_size(stage: Any, side: int) -> Any:
    stage.origin = dataclasses.replace(stage.origin, size=(side, side))
    return stage


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (lambda: [small_base(), small_base()], "'0' and '1' are both the part base"),
        (lambda: [small_cascade(1)], "There is no base among the checkpoints"),
        (lambda: [small_base(), small_cascade(2)], "There is cascade-2 but no cascade-1"),
        (lambda: [small_base(), Between(4)], "The part tsr was trained on latents of another"),
        (lambda: [small_base(), other_text()], "with another text encoder than the base"),
        (lambda: [small_base(), small_cascade(1, clip_frames=8)], "clips of 8 frames and the base"),
        (
            lambda: [small_base(), of_size(small_cascade(1), 24)],
            "cascade-1 was trained at 24x24, which is not 2 times the base's 8x8",
        ),
        (lambda: [small_base(), Foreign()], "'1' holds Foreign, which is no part of VideoGen"),
    ],
)
def test_parts_that_do_not_belong_together_are_one_sentence(
    parts: Callable[[], list[Trainable]], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        VideoGen.compose({str(i): part for i, part in enumerate(parts())})


class Foreign(Between):
    part = "flow"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stages": 4}, "stages is 4, but there are 3"),
        ({"passes": 1}, "passes need temporal super-resolution"),
        ({"steps": 1001}, "1001 steps: choose 1 to 1000"),
        ({"upper": UpperSampling(2000)}, "2000 steps: choose 1 to 1000"),
        ({"continuation": "none"}, "9 frames are more than the 4 of a clip"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        made(whole(), 9, 4 * SIZE, **change)


def test_sizes_that_do_not_fit_and_no_picture_are_one_sentence() -> None:
    with pytest.raises(UserError, match="Size 12x12 does not fit 3 stages: choose sides divisible"):
        made(whole(), 4, 12)
    segments, generators = [Segment(("a",), 4)], generators_for(0, ("a",))
    with pytest.raises(UserError, match="VideoGen starts from a picture: give one"):
        small_base().generate(segments, generators, (SIZE, SIZE))
    settings = dataclasses.replace(FEW, without_reference=True)
    trained_so = small_base(StageTraining(reference_dropout=1.0), settings)
    assert len(list(trained_so.generate(segments, generators, (SIZE, SIZE)))) == 4


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: VideoGenSampling(steps=0), "0 steps: the number of denoising steps"),
        (lambda: VideoGenSampling(fps=0), "fps must be"),
        (lambda: VideoGenSampling(passes=-1), "passes must be"),
        (lambda: VideoGenSampling(stages=0), "stages must be"),
        (lambda: VideoGenSampling(sampler="x"), "Unknown sampler 'x'"),
        (lambda: VideoGenSampling(sampler="dpm-solver++", eta=1), "eta needs the ddim sampler"),
        (lambda: VideoGenSampling(continuation="x"), "choose last_frame or none"),  # type: ignore[arg-type]
        (lambda: UpperSampling(noise=-1), "noise on the stage before must be"),
        (lambda: Guidance(float("nan")), "The guidance of the text must be"),
    ],
)
def test_settings_that_are_none_are_one_sentence(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make()


def test_a_preview_shows_truth_doubled_and_made() -> None:
    from videogen_parts import clips

    upper, batch = small_cascade(1), clips(2, size=2 * SIZE)
    shown = upper.preview(batch, generators_for(0, batch.keys))
    assert list(shown) == ["truth", "doubled", "made"]
    assert torch.equal(shown["truth"], batch.frames)
    small = F.interpolate(
        batch.frames.flatten(0, 1).float(), (8, 8), mode="bilinear", antialias=True
    )
    large = F.interpolate(small.round(), (16, 16), mode="bilinear")
    assert (shown["doubled"].flatten(0, 1).float() - large).abs().max() <= 1
    assert shown["made"].shape == batch.frames.shape
