"""I3D, C3D and Inception against independent implementations; what breaks them is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference_networks as reference
import torch
from torch import Tensor, nn
from weight_files import SMALL, random_state, write_c3d, write_i3d, write_inception, write_mean

from evaluation.features import VideoPreprocessing, load_c3d, load_i3d, load_inception
from evaluation.features import random_features as random_network
from evaluation.features.base import Features
from evaluation.features.c3d import C3D
from evaluation.features.i3d import I3D
from evaluation.features.inception import Inception
from lightning_artv.errors import UserError

TOLERANCE = 1e-5


def make_video(frames: int, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Tensor:
    """Coarse blocks with fine noise: white noise alone would average out in the networks."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    coarse = torch.rand(frames, 3, 4, 5, generator=generator)
    blocks = nn.functional.interpolate(coarse, size, mode="nearest") * 192
    noise = torch.rand(frames, 3, height, width, generator=generator) * 63
    return (blocks + noise).to(torch.uint8)[None]


def float64(network: Features) -> dict[str, np.ndarray]:
    return {name: t.double().numpy() for name, t in network.network.state_dict().items()}


def distance(features: Tensor, expected: np.ndarray) -> float:
    return float(np.abs(features[0].numpy() - expected).max())


@pytest.fixture(scope="module")
def i3d(tmp_path_factory: pytest.TempPathFactory) -> I3D:
    return load_i3d(write_i3d(tmp_path_factory.mktemp("i3d") / "small.pt"))


@pytest.fixture(scope="module")
def c3d(tmp_path_factory: pytest.TempPathFactory) -> C3D:
    folder = tmp_path_factory.mktemp("c3d")
    return load_c3d(write_c3d(folder / "small.npz"), write_mean(folder / "mean.npz"))


@pytest.fixture(scope="module")
def mean(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = write_mean(tmp_path_factory.mktemp("mean") / "mean.npz")
    return np.load(path)["mean"].astype(float)


@pytest.fixture(scope="module")
def i3d_expected(i3d: I3D) -> np.ndarray:
    return reference.i3d(make_video(9)[0].numpy(), float64(i3d))


@pytest.fixture(scope="module")
def c3d_expected(c3d: C3D, mean: np.ndarray) -> np.ndarray:
    return reference.c3d(make_video(16)[0].numpy(), float64(c3d), mean)


def test_i3d_equals_the_independent_one(i3d: I3D, i3d_expected: np.ndarray) -> None:
    assert distance(i3d(make_video(9)), i3d_expected) < TOLERANCE
    # the tolerance means something only where features differ by far more
    assert distance(i3d(make_video(9, seed=1)), i3d_expected) > 1000 * TOLERANCE


def test_i3d_equals_the_independent_one_for_an_odd_time_that_leaves_several_logits(
    i3d: I3D,
) -> None:
    video = make_video(17, size=(224, 224))
    expected = reference.i3d(video[0].numpy(), float64(i3d))
    assert distance(i3d(video), expected) < TOLERANCE


def with_eps(i3d: I3D) -> I3D:
    mutant = I3D(eps=1e-5, width=SMALL)
    mutant.load_state_dict(i3d.state_dict())
    return mutant


def with_symmetric_padding(i3d: I3D) -> I3D:
    """What PyTorch's own `padding=kernel // 2` would do."""
    mutant = I3D(width=SMALL)
    stem = mutant.network.get_submodule("Conv3d_1a_7x7")
    mutant.load_state_dict(i3d.state_dict())
    stem.forward = lambda x: torch.relu(  # type: ignore[method-assign]
        stem.bn(nn.functional.conv3d(x, stem.conv3d.weight, stride=2, padding=3))
    )
    return mutant


@pytest.mark.parametrize("mutate", [with_eps, with_symmetric_padding])
def test_a_changed_i3d_is_noticed(
    i3d: I3D, i3d_expected: np.ndarray, mutate: Callable[[I3D], I3D]
) -> None:
    assert distance(mutate(i3d)(make_video(9)), i3d_expected) > TOLERANCE


@pytest.mark.parametrize(
    "change", [lambda v: v.flip(2), lambda v: v.flip(1), lambda v: v.roll(1, dims=4)]
)
def test_i3d_notices_colour_order_time_and_a_shift_of_one_pixel(
    i3d: I3D, i3d_expected: np.ndarray, change: Callable[[Tensor], Tensor]
) -> None:
    assert distance(i3d(change(make_video(9))), i3d_expected) > TOLERANCE


def test_full_size_i3d_has_the_published_keys_and_parameters() -> None:
    with torch.device("meta"):
        network = I3D().network
    state = network.state_dict()
    assert len(state) == 344
    assert sum(p.numel() for p in network.parameters()) == 12_697_264
    assert sum(isinstance(m, nn.BatchNorm3d) for m in network.modules()) == 57
    assert all(m.eps == 1e-3 for m in network.modules() if isinstance(m, nn.BatchNorm3d))
    published = {
        "Conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7),
        "Mixed_3b.b2b.bn.running_var": (32,),
        "Mixed_4f.b3b.conv3d.weight": (128, 528, 1, 1, 1),
        "Mixed_5c.b1b.conv3d.weight": (384, 192, 3, 3, 3),
        "logits.conv3d.bias": (400,),
    }
    assert {name: tuple(state[name].shape) for name in published} == published


@pytest.mark.parametrize("frames", [9, 16, 17, 32])
def test_i3d_takes_nine_frames_and_more(i3d: I3D, frames: int) -> None:
    features = i3d(make_video(frames))
    assert features.shape == (1, 400) and features.dtype == torch.float32
    assert features.isfinite().all() and i3d.size == 400


def test_i3d_of_eight_frames_is_an_error_that_names_both_numbers(i3d: I3D) -> None:
    with pytest.raises(UserError, match="at least 9 frames a video and got 8") as raised:
        i3d(make_video(8))
    assert raised.value.exit_code == 2


def test_c3d_equals_the_independent_one(c3d: C3D, c3d_expected: np.ndarray) -> None:
    assert distance(c3d(make_video(16)), c3d_expected) < TOLERANCE
    assert distance(c3d(make_video(16, seed=1)), c3d_expected) > 100 * TOLERANCE
    assert c3d_expected.max() < 0.9  # not saturated, or nothing would show


def c3d_with(c3d: C3D, change: Callable[[C3D], None]) -> C3D:
    mutant = C3D(torch.zeros(3, 16, 128, 171), SMALL)
    mutant.load_state_dict(c3d.state_dict())
    change(mutant)
    return mutant


def pool5_padded(mutant: C3D) -> None:
    mutant.network.pool5 = nn.MaxPool3d(2, 2, padding=(0, 1, 1))


def rgb_order(mutant: C3D) -> None:
    pixels = mutant.pixels
    mutant.pixels = lambda videos: pixels(videos.flip(2))  # type: ignore[method-assign]


@pytest.mark.parametrize("change", [pool5_padded, rgb_order])
def test_a_changed_c3d_is_noticed(
    c3d: C3D, c3d_expected: np.ndarray, change: Callable[[C3D], None]
) -> None:
    assert distance(c3d_with(c3d, change)(make_video(16)), c3d_expected) > TOLERANCE


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (0, 21)])
def test_another_crop_of_the_mean_is_noticed(
    c3d: C3D, c3d_expected: np.ndarray, mean: np.ndarray, shift: tuple[int, int]
) -> None:
    moved = torch.from_numpy(np.roll(mean, [-s for s in shift], axis=(2, 3)))
    mutant = C3D(moved, SMALL)
    mutant.network.load_state_dict(c3d.network.state_dict())
    assert distance(mutant(make_video(16)), c3d_expected) > TOLERANCE


def test_c3d_gives_probabilities(c3d: C3D) -> None:
    features = c3d(torch.cat([make_video(16), make_video(16, seed=1)]))
    assert features.shape == (2, 101) and features.dtype == torch.float32 and c3d.size == 101
    torch.testing.assert_close(features.sum(1), torch.ones(2))


@pytest.mark.parametrize("frames", [15, 17])
def test_c3d_takes_exactly_sixteen_frames(c3d: C3D, frames: int) -> None:
    with pytest.raises(UserError, match=f"exactly 16 frames a video and got {frames}"):
        c3d(make_video(frames))


def test_inception_equals_pytorch_fid(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytorch_fid import inception as fid

    ours = Inception()
    state = random_state(ours.network)
    monkeypatch.setattr(fid, "load_state_dict_from_url", lambda *_, **__: state)
    theirs = fid.InceptionV3([3]).eval()
    frames = make_video(1)[0]
    with torch.no_grad():
        expected = theirs(frames / 255)[0].flatten(1)
    features = ours(frames)
    assert features.shape == (1, 2048) and ours.size == 2048
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    assert (features - ours(make_video(1, seed=1)[0])).abs().max() > 1e-2


def test_small_inception_loads_at_its_own_width(tmp_path: Path) -> None:
    network = load_inception(write_inception(tmp_path / "small.pth"))
    features = network(make_video(3)[0])
    assert features.shape == (3, network.size) and network.name == "inception@1/16"


@pytest.mark.parametrize("kind", ["i3d", "c3d", "inception"])
def test_random_features_say_so_and_depend_on_the_seed_alone(kind: str) -> None:
    video = make_video(1 if kind == "inception" else 16)
    video = video[0] if kind == "inception" else video
    first, again, other = (random_network(kind, seed, SMALL) for seed in (0, 0, 1))
    assert first.name == f"random-{kind}@1/16" and first.digests == {}
    assert torch.equal(first(video), again(video))
    assert not torch.equal(first(video), other(video))


def test_he_scaled_weights_keep_the_size_of_activations() -> None:
    weight = random_network("i3d", 0, SMALL).network.get_submodule("Mixed_5b.b1b.conv3d").weight
    assert weight.std() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.1)


@pytest.mark.parametrize("network", ["i3d", "c3d"])
def test_videos_of_a_batch_do_not_touch_each_other(
    network: str, request: pytest.FixtureRequest
) -> None:
    features: Features = request.getfixturevalue(network)
    videos = torch.cat([make_video(16, seed) for seed in range(3)])
    one_by_one = torch.cat([features(video[None]) for video in videos])
    torch.testing.assert_close(features(videos), one_by_one, atol=1e-6, rtol=1e-5)


def test_networks_stay_frozen_in_evaluation_mode_and_float32(i3d: I3D) -> None:
    nn.ModuleList([i3d]).train()
    assert not any(module.training for module in i3d.modules())
    assert not any(parameter.requires_grad for parameter in i3d.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = i3d(make_video(9))
    assert torch.equal(inside, i3d(make_video(9)))


def test_videos_of_another_type_or_shape_are_refused(i3d: I3D) -> None:
    with pytest.raises(ValueError, match="float32"):
        i3d(make_video(9) / 255)
    for bad in (make_video(9)[0], make_video(9).transpose(1, 2), make_video(9)[:, :, :1]):
        with pytest.raises(ValueError, match=r"uint8 \[B, T, 3, H, W\]"):
            i3d(bad)
    with pytest.raises(ValueError, match=r"uint8 \[N, 3, H, W\]"):
        random_network("inception", 0, SMALL)(make_video(2))


@pytest.mark.parametrize("size", [(48, 64), (300, 260), (224, 224)])
def test_stretch_is_linear_interpolation_between_pixel_centres(size: tuple[int, int]) -> None:
    video = make_video(2, size=size)
    pixels = VideoPreprocessing()(video)
    expected = reference.resize(video[0].double().numpy(), 224, corners=False) / 255 * 2 - 1
    assert pixels.shape == (1, 3, 2, 224, 224)
    np.testing.assert_allclose(pixels[0].transpose(0, 1), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (500, 301), (301, 500)])
def test_crop_scales_the_short_side_and_takes_the_centre(size: tuple[int, int]) -> None:
    video = make_video(1, size=size)
    pixels = VideoPreprocessing("crop", size=32)(video)[0, :, 0]
    height, width = (int(np.ceil(n * 32 / min(size))) for n in size)
    frame = video[0, 0].double().numpy()
    rows, columns = (
        reference.bilinear(n, m, corners=False) for n, m in zip(size, (height, width), strict=True)
    )
    whole = rows @ frame @ columns.T / 127.5 - 1
    top, left = (height - 32) // 2, (width - 32) // 2
    np.testing.assert_allclose(pixels, whole[:, top : top + 32, left : left + 32], atol=1e-5)


def test_antialiasing_is_pillows() -> None:
    from PIL import Image

    video = make_video(1, size=(300, 260))
    pixels = VideoPreprocessing(antialias=True, size=64)(video)[0, 0, 0]
    red = Image.fromarray(video[0, 0, 0].numpy().astype("f"))
    expected = np.asarray(red.resize((64, 64), Image.Resampling.BILINEAR)) / 127.5 - 1
    np.testing.assert_allclose(pixels, expected, atol=1e-4)
    assert (VideoPreprocessing(size=64)(video)[0, 0, 0] - expected).abs().max() > 0.1


def test_an_unknown_resize_is_refused() -> None:
    with pytest.raises(ValueError, match="'stretch' or 'crop'"):
        VideoPreprocessing("squash")
