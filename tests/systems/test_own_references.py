"""Targets that follow frames which the model made: the right frames, in the right order."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from make_system import MakeSystem
from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.denoiser import Encoded, Masked
from lightning_artv.systems.artv.references import FrameConditions
from lightning_artv.systems.artv.settings import ARTVSampling

HALF = 0.5


@pytest.fixture
def windows() -> VideoBatch:
    """Windows of three targets: frames 0, 1, 2 follow frame 3; before it frame 4; the anchor 5."""
    g = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (3, 6, 3, 16, 16), dtype=torch.uint8, generator=g)
    choice = torch.tensor([[0, 3, 4, 5], [1, 0, 3, 5], [2, 1, 0, 5]]).expand(3, 3, 4)
    return VideoBatch(pixels, choice, ("a dog", "a cat", ""), ("k0", "k1", "k2"))


def halving(system: ARTV) -> ARTV:
    """The system makes of every frame its previous one at half the contrast."""

    def denoise(y_t: Tensor, t: Tensor, encoded: Encoded) -> Masked:
        return Masked(HALF * encoded.y_ref)

    system.denoiser.denoise = denoise  # type: ignore[method-assign]
    return system


def seen(system: ARTV, windows: VideoBatch, keys: list[str]) -> tuple[Tensor, Tensor]:
    g = generators_for(0, keys)
    frames = system.autoencoder.encode_clips(windows.frames, g)
    return frames, system._own_references(windows, frames, g)


@pytest.mark.parametrize("steps", [1, 4])
def test_each_target_follows_what_was_made_of_the_one_before(
    make_system: MakeSystem, windows: VideoBatch, steps: int
) -> None:
    plain = {"max_noise_level": 0, "condition_dropout": 0.0}
    options = {**plain, "sampling": ARTVSampling(noise_level=0)}
    system = halving(make_system(own_references=1.0, own_reference_steps=steps, **options))
    true, made = seen(system, windows, ["a", "b", "c"])
    torch.testing.assert_close(made[:, 0], HALF * true[:, 3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made[:, 1], HALF**2 * true[:, 3], rtol=1e-4, atol=1e-4)
    assert torch.equal(made[:, 2:], true[:, 2:])  # nothing follows the last target

    system.train()
    names = [str(i) for i in range(9)]
    off = make_system(**plain)
    y0, conditions, _ = system.prepare(windows, generators_for(0, names))
    true_y0, true_conditions, _ = off.prepare(
        windows, generators_for(0, [f"{i}" for i in range(9)])
    )
    assert torch.equal(y0, true_y0)  # the target is the true frame
    assert torch.equal(conditions.anchor, true_conditions.anchor)
    first, second, third = conditions.y_ref.unflatten(0, (3, 3)).unbind(1)
    torch.testing.assert_close(first, true[:, 3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(second, HALF * true[:, 3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(third, HALF**2 * true[:, 3], rtol=1e-4, atol=1e-4)
    older = conditions.references[:, 1].unflatten(0, (3, 3))[:, 2]
    torch.testing.assert_close(older, HALF * true[:, 3], rtol=1e-4, atol=1e-4)


def test_what_was_made_two_targets_ago_is_followed_too(make_system: MakeSystem) -> None:
    """Four targets: the third one that is made follows the second and the first one made."""
    g = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (2, 7, 3, 16, 16), dtype=torch.uint8, generator=g)
    choice = torch.tensor([[0, 4, 5, 6], [1, 0, 4, 6], [2, 1, 0, 6], [3, 2, 1, 6]])
    windows = VideoBatch(pixels, choice.expand(2, 4, 4), ("a dog", "a cat"), ("k0", "k1"))
    system = halving(make_system(own_references=1.0))
    asked: list[tuple[Tensor, Tensor]] = []
    condition = system.denoiser.condition

    def noted(references: Tensor, anchor: Tensor, *rest: Any) -> FrameConditions:
        asked.append((references, anchor))
        return condition(references, anchor, *rest)

    system.denoiser.condition = noted  # type: ignore[method-assign]
    true, _ = seen(system, windows, ["a", "b"])
    expected = [(4, 1.0, 5, 1.0), (4, HALF, 4, 1.0), (4, HALF**2, 4, HALF)]
    assert len(asked) == 3
    for (references, anchor), (first, gain, second, older) in zip(asked, expected, strict=True):
        torch.testing.assert_close(references[:, 0], gain * true[:, first], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(references[:, 1], older * true[:, second], rtol=1e-4, atol=1e-4)
        assert torch.equal(anchor, true[:, 6])


def test_only_a_share_of_the_windows_is_treated_and_each_by_its_own_generator(
    make_system: MakeSystem, windows: VideoBatch
) -> None:
    system = halving(make_system(own_references=0.5))
    keys = ["a", "b", "c"]
    true, made = seen(system, windows, keys)
    changed = (made != true).flatten(1).any(1)
    assert 0 < changed.sum() < 3
    alone = VideoBatch(windows.frames[1:2], windows.choice[1:2], ("a cat",), ("k1",))
    _, single = seen(system, alone, keys[1:2])
    torch.testing.assert_close(single[0], made[1])


def test_nothing_flows_back_through_what_was_made(
    make_system: MakeSystem, windows: VideoBatch
) -> None:
    system = make_system(opened=True, own_references=1.0).train()
    names = [str(i) for i in range(9)]
    frames = system.autoencoder.encode_clips(windows.frames, generators_for(0, names)[::3])
    g = generators_for(0, names)[::3]
    assert not system._own_references(windows, frames, g).requires_grad
    with_own = system.loss(windows, generators_for(0, names))
    with_own.loss.backward()
    system.eval()  # validation follows true frames
    true = system.loss(windows, generators_for(0, names))
    system.training_options = dataclasses.replace(system.training_options, own_references=0.0)
    assert torch.equal(system.train().loss(windows, generators_for(0, names)).loss, true.loss)
    assert not torch.isclose(with_own.loss, true.loss, rtol=1e-4)


def test_windows_of_one_target_and_bad_shares_are_refused(
    make_system: MakeSystem, batch: VideoBatch
) -> None:
    system = make_system(own_references=0.5).train()
    with pytest.raises(UserError, match=r"set data\.windows\.init_args\.targets to 2"):
        system.loss(batch, generators_for(0, [0, 1, 2]))
    with pytest.raises(UserError, match=r"own_references is 1\.5, and no share"):
        make_system(own_references=1.5)
