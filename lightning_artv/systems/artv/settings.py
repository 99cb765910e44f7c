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
        first_steps: denoising steps of a first frame that is made from the text; None: `steps`.
        first_guidance: weight of the text for that frame, of which there is one, so that a large
            one adds up to nothing; None: `guidance.text`.
    """

    steps: int = 50
    sampler: str = "ddim"
    spacing: Spacing = "leading"
    guidance: Guidance = Guidance()
    noise_level: int = 200
    clip_latents: float | None = None
    set_alpha_to_one: bool | None = None
    segment_anchor: bool = False
    first_steps: int | None = None
    first_guidance: float | None = None

    def __post_init__(self) -> None:
        check_whole(f"{self.steps} steps: the number of denoising steps", self.steps, 1)
        if self.first_steps is not None:
            check_whole("The number of denoising steps of the first frame", self.first_steps, 1)
        if self.first_guidance is not None:
            check_number("The guidance of the first frame", self.first_guidance)
        check_whole("The noise level", self.noise_level, 0)
        if self.clip_latents is not None:
            check_number("The clamp of the latents", self.clip_latents, 1e-6)

    def solver(self, first: bool = False) -> Sampler:
        """The sampler of a frame; `first`: of a first frame that is made from the text."""
        steps = self.first_steps if first and self.first_steps is not None else self.steps
        return Sampler(steps, self.sampler, self.spacing, self.set_alpha_to_one, self.clip_latents)

    def steps_of(self, frames: int, given: bool) -> int:
        """Denoising steps of a video of `frames`, whose first frame may be given."""
        first = 0 if given else self.solver(first=True).steps
        return first + (frames - 1) * self.steps

    def first_weights(self) -> dict[str, float]:
        """The guidance of a first frame made from the text: there is nothing but the text."""
        given = self.first_guidance
        return {"text": self.guidance.text if given is None else given}
