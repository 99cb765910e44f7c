"""Degradations against scipy and Pillow, and what is drawn when."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import multivariate_normal

from lightning_artv.diffusion.noise import generators_for
from lightning_artv.systems.decoder import degradations
from lightning_artv.systems.decoder.degradations import (
    blur,
    degrade,
    degrade_clips,
    gaussian_kernel,
    jpeg,
)


@given(st.sampled_from([7, 15, 25]), st.floats(0, 5), st.floats(0, 5), st.floats(0, 3.14))
def test_kernels_sum_to_1(size: int, first: float, second: float, angle: float) -> None:
    kernel = gaussian_kernel(size, (first, second), angle)
    assert kernel.shape == (size, size)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(kernel, kernel.flip(0, 1))


@pytest.mark.parametrize("sd", [0.3, 1.0, 2.2])
def test_an_isotropic_kernel_is_scipys(sd: float) -> None:
    dot = np.zeros((25, 25))
    dot[12, 12] = 1
    expected = gaussian_filter(dot, sd, truncate=12 / sd)
    assert np.abs(gaussian_kernel(25, (sd**2, sd**2)).numpy() - expected).max() <= 1e-6


def test_a_turned_kernel_is_scipys() -> None:
    angle, variances = 0.7, (4.0, 0.8)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    density = multivariate_normal(cov=turn @ np.diag(variances) @ turn.T)
    y, x = np.mgrid[-7:8, -7:8]
    expected = density.pdf(np.stack([x, y], axis=-1))
    found = gaussian_kernel(15, variances, angle).numpy()
    assert np.abs(found - expected / expected.sum()).max() <= 1e-6


def test_a_blur_leaves_what_is_even_and_spreads_a_dot() -> None:
    even = torch.full((2, 3, 9, 11), 77.0)
    kernel = gaussian_kernel(7, (2.0, 2.0))
    torch.testing.assert_close(blur(even, kernel), even)
    dot = torch.zeros(1, 3, 15, 15)
    dot[..., 7, 7] = 1
    torch.testing.assert_close(blur(dot, kernel)[0, 0, 4:11, 4:11], kernel)


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_jpeg_is_pillows(quality: int) -> None:
    """Pixels differ by at most what two releases of libjpeg round apart."""
    y, x = np.mgrid[:40, :48]
    picture = np.stack([x * 5, y * 6, (x + y) * 2], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    expected = np.asarray(Image.open(file)).astype(int)
    frames = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    found = jpeg(frames, quality)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - expected).max() <= 4
    assert np.abs(found - expected).mean() <= 0.5


@pytest.mark.parametrize(("kind", "correlation"), [(0.1, 0.0), (0.6, 1.0)])
def test_noise_has_its_moments(kind: float, correlation: float) -> None:
    mixing = degradations._mixing(kind, torch.Generator().manual_seed(0))
    drawn = torch.randn(3, 400_000, generator=torch.Generator().manual_seed(1))
    noise = mixing @ drawn
    assert noise.mean(dim=1).abs().max() <= 0.01
    torch.testing.assert_close(noise.std(dim=1), torch.ones(3), rtol=0.01, atol=0)
    others = torch.corrcoef(noise)[0, 1:]
    torch.testing.assert_close(others, torch.full((2,), correlation), rtol=0, atol=0.01)


def test_correlated_noise_has_a_random_covariance_of_no_more_than_the_deviation() -> None:
    for seed in range(20):
        mixing = degradations._mixing(0.9, torch.Generator().manual_seed(seed))
        covariance = mixing @ mixing.T
        assert torch.linalg.eigvalsh(covariance).max() <= 1 + 1e-5
        assert covariance[0, 1].abs() > 0


def test_noise_is_drawn_anew_for_each_frame_and_by_its_deviation() -> None:
    spreads = []
    for seed in range(60):
        add = degradations._noise(torch.Generator().manual_seed(seed))
        noise = add(torch.zeros(2, 3, 64, 64))
        assert not torch.equal(noise[0], noise[1])
        spreads.append(float(noise.std()))
    assert min(spreads) >= 2 * 0.3 and max(spreads) <= 25 * 1.02
    assert max(spreads) > 20


def test_a_clip_is_degraded_alike_in_any_batch_and_stays_itself() -> None:
    clips = torch.randint(0, 256, (3, 2, 3, 24, 32), dtype=torch.uint8)
    before = clips.clone()
    made = degrade_clips(clips, generators_for(0, "abc"))
    assert made.dtype == torch.uint8 and made.shape == clips.shape
    assert torch.equal(clips, before)
    assert torch.equal(made[1:2], degrade_clips(clips[1:2], generators_for(0, "b")))
    assert not torch.equal(made[1:2], degrade_clips(clips[1:2], generators_for(1, "b")))


def test_parameters_hold_for_a_whole_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise, frames that are the same stay the same."""
    monkeypatch.setattr(degradations, "_noise", lambda generator: lambda frames: frames)
    frame = torch.randint(0, 256, (1, 3, 24, 24), dtype=torch.uint8)
    for seed in range(8):
        made = degrade(frame.repeat(4, 1, 1, 1), torch.Generator().manual_seed(seed))
        assert all(torch.equal(made[0], other) for other in made[1:])
        assert not torch.equal(made[0], frame[0])


def test_the_last_jpeg_is_always_there_and_the_order_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orders: set[str] = set()
    said: list[str] = []

    def named(name: str) -> object:
        def make(generator: torch.Generator) -> object:
            torch.rand((), generator=generator)

            def change(frames: torch.Tensor) -> torch.Tensor:
                said.append(name)
                return frames

            return change

        return make

    for name in ("blur", "noise", "jpeg"):
        monkeypatch.setattr(degradations, f"_{name}", named(name))
    counts = []
    for seed in range(200):
        said.clear()
        degrade(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.Generator().manual_seed(seed))
        assert said[-1] == "jpeg" and said.count("blur") == 2 and said.count("noise") == 1
        counts.append(said.count("jpeg") - 1)
        orders.add(" ".join(said))
    assert 0.8 < np.mean(counts) < 0.98
    assert len(orders) >= 10
