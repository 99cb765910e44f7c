"""How ART•V samples; its fields are what `--set guidance.text=7` may name."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_artv.diffusion.plan import Spacing
from lightning_artv.diffusion.samplers import Sampler
from lightning_artv.errors import check_number, check_whole
from lightning_artv.systems.base import SamplingSettings


@dataclass(frozen=True)
class Guidance:
    """Weights of the three conditions (paper Sec. 4); 0 leaves a branch out and costs no
    evaluation.
    """

    references: float = 0.25
    anchor: float = 0.25
    text: float = 6.5

    def __post_init__(self) -> None:
        for name in ("references", "anchor", "text"):
            check_number(f"The guidance of the {name}", getattr(self, name))


@dataclass(frozen=True)
class ARTVSampling(SamplingSettings):
    """How frames are sampled.

    Attributes:
        steps: denoising steps per frame.
        sampler: `ddim` or `dpm-solver++`.
        spacing: how timesteps are chosen: `leading` (Stable Diffusion's), `trailing` or `linspace`.
        guidance: weights of the conditions.
        noise_level: t_test (Sec. 3.3), the noise augmentation of references and anchor, in [0,
            T_max].
        clip_latents: clamp the predicted clean latent to [-clip, clip] at every step; None for no
            clamp. Only sensible where latents are pixels.
        set_alpha_to_one: whether the last step removes all noise, so that a mask of 1 copies
            exactly; None for what Stable Diffusion's samplers do (ddim no, dpm-solver++ yes).
        segment_anchor: anchor each segment on its own first frame instead of the video's.
    """

    steps: int = 50
    sampler: str = "ddim"
    spacing: Spacing = "leading"
    guidance: Guidance = Guidance()
    noise_level: int = 200
    clip_latents: float | None = None
    set_alpha_to_one: bool | None = None
    segment_anchor: bool = False

    def __post_init__(self) -> None:
        check_whole(f"{self.steps} steps: the number of denoising steps", self.steps, 1)
        check_whole("The noise level", self.noise_level, 0)
        if self.clip_latents is not None:
            check_number("The clamp of the latents", self.clip_latents, 1e-6)

    def solver(self) -> Sampler:
        """The sampler that these settings describe."""
        return Sampler(
            self.steps, self.sampler, self.spacing, self.set_alpha_to_one, self.clip_latents
        )
