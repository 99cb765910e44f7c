"""What joins do with a perfect denoiser: the softmax over all clips of a small world.

A bump goes one pixel a frame along a ring of 32 pixels, in one of 3 colours; where the text says
which way, all go right, else half of them left. So no claim about joins rests on a trained model.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from vidrd_parts import PLAIN, latents_of, transparent

from lightning_artv.diffusion.schedule import NoiseSchedule
from lightning_artv.systems.base import Denoised
from lightning_artv.systems.vidrd.denoiser import ClipConditions, VidRDDenoiser
from lightning_artv.systems.vidrd.settings import VidRDSampling

RING, STARTS, COLORS, FRAMES, ROLLOUTS = 32, 64, 3, 8, 64


def world(both_ways: bool) -> Tensor:
    """All clips `[K, 8, 3, 1, 32]`; direction, start, colour."""
    place = torch.arange(RING)
    clips = []
    for step in (1, -1) if both_ways else (1,):
        for start in range(STARTS):
            centres = start * RING / STARTS + step * torch.arange(FRAMES)[:, None]
            away = (place - centres + RING / 2) % RING - RING / 2
            bump = 2 * torch.exp(-away.square() / (2 * 1.5**2))
            for color in range(COLORS):
                clip = torch.zeros(FRAMES, COLORS, 1, RING)
                clip[:, color, 0] = bump
                clips.append(clip)
    return torch.stack(clips)


class Exact(VidRDDenoiser):
    """The posterior mean of clips of a world."""

    def __init__(self, clips: Tensor) -> None:
        super().__init__(nn.Linear(1, 1), NoiseSchedule.scaled_linear())  # type: ignore[arg-type]
        self.clips = clips.double().flatten(1)

    def denoise(self, y_t: Tensor, t: Tensor, encoded: ClipConditions) -> Denoised:
        signal, noise = (
            f(t).double()[:, None] for f in (self.schedule.signal, self.schedule.noise)
        )
        y = y_t.flatten(1).double() / signal
        distance = y.square().sum(1, keepdim=True) - 2 * y @ self.clips.T
        distance = distance + self.clips.square().sum(1)
        weights = (-distance * (signal / noise).square() / 2).softmax(dim=1)
        return Denoised((weights @ self.clips).float().unflatten(1, y_t.shape[1:]))


def shown(both_ways: bool, settings: VidRDSampling, clips: int) -> Tensor:
    """What each clip of each rollout shows, int `[R, clips, 3]`: direction, start, colour."""
    system = transparent(Exact(world(both_ways)))
    system.autoencoder.channels = COLORS
    new = FRAMES - settings.prompt_frames * (settings.join == "overlap")
    total = FRAMES + (clips - 1) * new
    keys = [f"r{i}" for i in range(ROLLOUTS)]
    made = latents_of(system, total, settings, keys, (1, RING))
    windows = made.unfold(1, FRAMES, new).movedim(-1, 2)  # [R, clips, 8, 3, 1, 32]
    if settings.join == "reuse":
        assert windows.shape[1] == clips
    known = world(both_ways).flatten(1)
    nearest = torch.cdist(windows.flatten(2).flatten(0, 1), known).argmin(dim=1)
    nearest = nearest.unflatten(0, (ROLLOUTS, clips))
    way = 1 - 2 * (nearest // (STARTS * COLORS))
    return torch.stack([way, nearest // COLORS % STARTS, nearest % COLORS], dim=-1)


def joins(found: Tensor, overlap: int = 0) -> dict[str, float]:
    """Shares of joins; places are in half pixels, two a frame."""
    way, start, color = found.unbind(-1)
    last = start[:, :-1] + 2 * way[:, :-1] * (FRAMES - 1 - overlap)
    goes_on = last + 2 * way[:, :-1]

    def near(a: Tensor, b: Tensor) -> Tensor:
        away = (a - b + STARTS // 2) % STARTS - STARTS // 2
        return away.abs() <= 2

    same = (way[:, 2:] == way[:, :-2]) & (color[:, 2:] == color[:, :-2])
    same = same & near(start[:, 2:], start[:, :-2])
    turned = way[:, 1:] == -way[:, :-1]
    shares = {
        "goes_on": near(start[:, 1:], goes_on),
        "direction": ~turned,
        "color": color[:, 1:] == color[:, :-1],
        "backwards": turned & near(start[:, 1:], last),
        "again": same,
    }
    return {name: round(float(share.float().mean()), 2) for name, share in shares.items()}


DDIM = replace(PLAIN, steps=50)
FRESH = replace(DDIM, prompt_frames=0, noise_reuse=0.0)
REVERSED = replace(DDIM, prompt_frames=8, guided_share=0.0)
MIXED = replace(DDIM, guided_share=0.0)
NEW_NOISE = replace(DDIM, noise_reuse=0.0)
OVERLAP = replace(DDIM, join="overlap")

# the place goes on, the colour is kept, clip i+2 is clip i
TOLD = {
    "fresh noise": (FRESH, 0.10, 0.30, 0.01),
    "FNR": (REVERSED, 0.07, 0.60, 1.00),
    "FNR, PNS": (MIXED, 0.07, 0.58, 0.77),
    "FNR, PNS, DSG": (DDIM, 0.08, 0.62, 0.76),
    "DSG alone": (NEW_NOISE, 0.09, 0.46, 0.01),
    "overlap": (OVERLAP, 1.00, 1.00, 0.00),
}
# the place goes on, the direction is kept, the colour, played backwards, clip i+2 is clip i
UNTOLD = {
    "fresh noise": (FRESH, 0.06, 0.50, 0.32, 0.02, 0.00),
    "FNR": (REVERSED, 1.00, 0.00, 1.00, 1.00, 1.00),
    "FNR, PNS": (MIXED, 0.72, 0.11, 0.89, 0.81, 0.73),
    "FNR, PNS, DSG": (DDIM, 0.77, 0.09, 0.92, 0.85, 0.75),
    "DSG alone": (NEW_NOISE, 0.20, 0.47, 0.52, 0.16, 0.00),
    "overlap": (OVERLAP, 0.81, 0.81, 1.00, 0.00, 0.03),
}


@pytest.mark.filterwarnings("ignore:8 prompt frames")
@pytest.mark.parametrize("name", TOLD)
def test_where_the_text_says_which_way(name: str) -> None:
    """Reuse keeps the colour but no place: motion jumps at each join. Overlap goes on."""
    settings, *expected = TOLD[name]
    found = joins(shown(False, settings, 6), 4 * (name == "overlap"))
    assert [found[k] for k in ("goes_on", "color", "again")] == pytest.approx(expected, abs=0.12)
    assert found["direction"] == 1


@pytest.mark.filterwarnings("ignore:8 prompt frames")
@pytest.mark.parametrize("name", UNTOLD)
def test_where_it_does_not(name: str) -> None:
    """Reuse joins places and colours, but plays the clip before backwards."""
    settings, *expected = UNTOLD[name]
    found = joins(shown(True, settings, 6), 4 * (name == "overlap"))
    names = ("goes_on", "direction", "color", "backwards", "again")
    assert [found[k] for k in names] == pytest.approx(expected, abs=0.12)
