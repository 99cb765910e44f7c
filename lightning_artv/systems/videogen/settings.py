"""How VideoGen's stages are trained, and how it samples (what `--set passes=2` may name)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_artv.diffusion.loss import Weighting
from lightning_artv.diffusion.plan import Spacing
from lightning_artv.diffusion.samplers import SAMPLERS, Sampler
from lightning_artv.errors import UserError, check_number, check_whole
from lightning_artv.systems.base import SamplingSettings


@dataclass(frozen=True)
class Guidance:
    """Weights of the conditions; 0 leaves a branch out and costs no evaluation.

    Attributes:
        text: Stable Diffusion's scale of 7.5 is a weight of 6.5.
        reference: of the reference picture; only of use to a stage that was trained without it too.
    """

    text: float = 6.5
    reference: float = 0.0

    def __post_init__(self) -> None:
        check_number("The guidance of the text", self.text)
        check_number("The guidance of the reference", self.reference)

    def weights(self) -> dict[str, float]:
        """By the name of the condition."""
        return {"text": self.text, "reference": self.reference}


@dataclass(frozen=True)
class UpperSampling:
    """How the stages above the base sample, where it is otherwise.

    Attributes:
        steps: denoising steps per clip.
        guidance: weights of the conditions.
        noise: level of noise on the doubled stage before; 0 (the paper's) for none.

    Raises:
        UserError: a value that is none.
    """

    steps: int = 50
    guidance: Guidance = Guidance(1.5)
    noise: int = 50

    def __post_init__(self) -> None:
        check_whole(f"{self.steps} steps: the number of denoising steps", self.steps, 1)
        check_whole("noise on the stage before", self.noise, 0)


@dataclass(frozen=True)
class VideoGenSampling(SamplingSettings):
    """How clips are sampled.

    Attributes:
        steps: denoising steps per clip of the base.
        sampler: `ddim` or `dpm-solver++`.
        spacing: how timesteps are chosen: `leading` (Stable Diffusion's), `trailing` or `linspace`.
        guidance: weights of the conditions in the base.
        upper: the stages above it.
        stages: how many stages are used, the base counted; None for all that are there.
        passes: number of passes of temporal super-resolution, each of which makes 2T - 1 frames of
            T; None for 3, or 0 where there is none.
        fps: frames per second that the base is asked for.
        keep_reference: the first frame is the reference itself, not what was made of it.
        without_reference: no picture is needed; for a system that was trained without it.
        continuation: beyond a clip, the next one's reference is the `last_frame`; or `none`, and
            more frames than a clip has are refused.
        eta: 0 is deterministic, 1 ancestral; ddim only.
        clip_latents: clamp the predicted clean latent to [-clip, clip] at every step; None for no
            clamp. Only sensible where latents are pixels.
        set_alpha_to_one: whether the last step removes all noise; None for what Stable Diffusion's
            samplers do (ddim no, dpm-solver++ yes).

    Raises:
        UserError: a value that is none, or two that contradict each other.
    """

    steps: int = 50
    sampler: str = "ddim"
    spacing: Spacing = "leading"
    guidance: Guidance = Guidance()
    upper: UpperSampling = UpperSampling()
    stages: int | None = None
    passes: int | None = None
    fps: float = 8.0
    keep_reference: bool = False
    without_reference: bool = False
    continuation: Literal["last_frame", "none"] = "last_frame"
    eta: float = 0.0
    clip_latents: float | None = None
    set_alpha_to_one: bool | None = None

    def __post_init__(self) -> None:
        check_whole(f"{self.steps} steps: the number of denoising steps", self.steps, 1)
        check_number("fps", self.fps, 0.1, 240)
        check_number("eta", self.eta, 0, 1)
        if self.stages is not None:
            check_whole("stages", self.stages, 1)
        if self.passes is not None:
            check_whole("passes", self.passes, 0)
        if self.clip_latents is not None:
            check_number("The clamp of the latents", self.clip_latents, 1e-6)
        if self.sampler not in SAMPLERS:
            known = " or ".join(SAMPLERS)
            raise UserError(f"Unknown sampler {self.sampler!r}: choose {known}.")
        if self.sampler != "ddim" and self.eta:
            raise UserError(f"eta needs the ddim sampler, not {self.sampler}.")
        if self.continuation not in ("last_frame", "none"):
            raise UserError(f"continuation is {self.continuation!r}: choose last_frame or none.")

    def solver(self, stage: int) -> Sampler:
        """The sampler of a stage; 0 is the base."""
        steps = self.upper.steps if stage else self.steps
        return Sampler(
            steps,
            self.sampler,
            self.spacing,
            self.set_alpha_to_one,
            self.clip_latents,
            eta=self.eta,
        )


@dataclass(frozen=True)
class StageTraining:
    """How the loss is made of a batch.

    Attributes:
        text_dropout: probability of training without the text, for its guidance.
        reference_dropout: probability of training without the reference; 1 for the paper's
            ablation.
        loss_weighting: `epsilon` is the paper's; see `diffusion.loss.loss_weights` for the others.
        huber: above 0, the error is counted as `sqrt(e^2 + huber^2) - huber`.
        from_noise: share of the samples that are trained at the last step, where nothing of the
            clip is left and what moves is decided; 0, the paper's: all steps alike.
        most_noise: noise on the doubled stage before is drawn from 0 to this level.

    Raises:
        UserError: a share outside [0, 1], or no level.
    """

    text_dropout: float = 0.1
    reference_dropout: float = 0.1
    loss_weighting: Weighting = "epsilon"
    huber: float = 0.0
    from_noise: float = 0.0
    most_noise: int = 200

    def __post_init__(self) -> None:
        for name in ("text_dropout", "reference_dropout", "from_noise"):
            check_number(name, getattr(self, name), 0, 1)
        check_number("huber", self.huber, 0)
        check_whole("most_noise", self.most_noise, 0)
