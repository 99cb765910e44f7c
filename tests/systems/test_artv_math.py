"""The paper's rules as pure functions: masking (Eq. 5-7), augmentation, references."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_artv.diffusion.augment import augment
from lightning_artv.diffusion.prediction import x0_from_eps
from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.systems.artv.masking import (
    blend,
    mask_from_logits,
    static_noise,
)
from lightning_artv.systems.artv.references import (
    FrameConditions,
    History,
    without_anchor,
    without_references,
    without_text,
)

SCHEDULE = NoiseSchedule.scaled_linear()


def _noised(t: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    y0, y_ref, eps = (torch.randn(2, 4, 3, 3, generator=g, dtype=torch.float64) for _ in range(3))
    signal = SCHEDULE.alpha_bar[t].sqrt()
    noise = (1 - SCHEDULE.alpha_bar[t]).sqrt()
    return y0, y_ref, eps, signal * y0 + noise * eps, signal, noise


@given(st.integers(0, 999), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_posterior_blends_clean_frames_at_every_t(t: int, seed: int) -> None:
    _, y_ref, eps_dynamic, y_t, signal, noise = _noised(t, seed)
    mask = torch.rand(2, 1, 3, 3, dtype=torch.float64)
    eps = blend(mask, static_noise("posterior", y_t, y_ref, signal, noise), eps_dynamic)
    x0_dynamic = x0_from_eps(y_t, eps_dynamic, signal, noise)
    expected = mask * y_ref + (1 - mask) * x0_dynamic
    difference = x0_from_eps(y_t, eps, signal, noise) - expected
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize("t", range(0, 1000, 37))
def test_a_mask_of_one_copies_exactly_and_is_the_true_noise_of_a_still_frame(t: int) -> None:
    y0, y_ref, eps, y_t, signal, noise = _noised(t)
    static = static_noise("posterior", y_t, y_ref, signal, noise)
    full = blend(torch.ones(2, 1, 3, 3, dtype=torch.float64), static, torch.full_like(eps, 7.0))
    torch.testing.assert_close(x0_from_eps(y_t, full, signal, noise), y_ref)
    torch.testing.assert_close(static_noise("posterior", y_t, y0, signal, noise), eps)


def test_residual_and_literal_are_the_papers_with_either_sign() -> None:
    _, y_ref, _, y_t, signal, noise = _noised(400)
    residual = static_noise("residual", y_t, y_ref, signal, noise)
    torch.testing.assert_close(residual, y_t - y_ref)
    torch.testing.assert_close(static_noise("literal", y_t, y_ref, signal, noise), -residual)
    with pytest.raises(ValueError, match="none"):
        static_noise("none", y_t, y_ref, signal, noise)


def test_the_printed_sign_points_away_from_the_noise_and_ours_along_it() -> None:
    """METHOD's measurement on frames that hardly change: the printed form anti-correlates with the
    true noise.
    """
    g = torch.Generator().manual_seed(0)
    y0 = torch.randn(4, 8, 8, generator=g)
    y_ref, eps = y0 + 0.1 * torch.randn(4, 8, 8, generator=g), torch.randn(4, 8, 8, generator=g)
    for t in (200, 400, 600, 950):
        signal, noise = SCHEDULE.alpha_bar[t].sqrt(), (1 - SCHEDULE.alpha_bar[t]).sqrt()
        y_t = signal * y0 + noise * eps

        def cosine(form: str) -> float:
            static = static_noise(form, y_t, y_ref, signal, noise)  # noqa: B023
            return float(torch.cosine_similarity(static.flatten(), eps.flatten(), dim=0))

        assert cosine("literal") < -0.5 < 0.5 < cosine("residual")
        assert cosine("posterior") > 0.95


def test_mask_is_exactly_closed_at_the_start_and_opens_with_a_gradient() -> None:
    logits = torch.full((5,), -4.0, requires_grad=True)
    mask = mask_from_logits(logits, -4.0)
    assert torch.equal(mask, torch.zeros(5))
    mask.sum().backward()
    assert logits.grad is not None and (logits.grad > 0.01).all()
    extremes = mask_from_logits(torch.tensor([-1e4, -5.0, 0.0, 1e4]), -4.0)
    assert (extremes.diff() >= 0).all() and extremes[0] == 0 and extremes[-1] == 1
    closed = torch.sigmoid(torch.tensor(-4.0))
    torch.testing.assert_close(extremes[2], (0.5 - closed) / (1 - closed))


def test_augmentation_is_eq_3_with_one_level_a_sample_and_level_0_is_clean() -> None:
    frames, noise = torch.randn(3, 3, 2, 4, 4), torch.randn(3, 3, 2, 4, 4)
    out = augment(SCHEDULE, frames, noise, torch.tensor([0, 1, 551]))
    assert torch.equal(out[0], frames[0])
    for row, level in ((1, 1), (2, 551)):
        alpha_bar = torch.cumprod(1 - SCHEDULE.betas, 0)[:level][-1].float()
        expected = alpha_bar.sqrt() * frames[row] + (1 - alpha_bar).sqrt() * noise[row]
        torch.testing.assert_close(out[row], expected)


def _conditions() -> FrameConditions:
    return FrameConditions(
        torch.randn(3, 2, 1, 2, 2),
        torch.randn(3, 1, 2, 2),
        torch.tensor([1, 2, 3]),
        torch.randn(3, 1, 2, 2),
        torch.tensor([True, True, False]),
    )


def test_dropping_touches_only_what_is_dropped() -> None:
    conditions, drop = _conditions(), torch.tensor([True, False, False])
    no_references = without_references(conditions, drop)
    assert (no_references.references[0] == 0).all()
    assert torch.equal(no_references.references[1:], conditions.references[1:])
    assert no_references.has_reference.tolist() == [False, True, False]
    assert no_references.anchor is conditions.anchor
    no_anchor = without_anchor(conditions, drop)
    assert (no_anchor.anchor[0] == 0).all()
    assert torch.equal(no_anchor.anchor[1:], conditions.anchor[1:])
    assert no_anchor.references is conditions.references
    assert without_text(("a", "b", "c"), drop) == ("", "b", "c")


def test_history_repeats_the_key_frame_then_slides() -> None:
    frames = [torch.full((1, 1, 1, 1), float(i)) for i in range(4)]
    history = History.start(frames[0])
    assert history.references().flatten().tolist() == [0, 0]
    history = history.push(frames[1])
    assert history.references().flatten().tolist() == [1, 0]
    history = history.push(frames[2]).push(frames[3])
    assert history.references().flatten().tolist() == [3, 2]
    assert history.anchor.item() == 0
    assert history.anchored_on_last().anchor.item() == 3
