"""How VidRD is trained, and how it samples (what `--set join=overlap` may name)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_artv.diffusion.loss import Weighting
from lightning_artv.diffusion.plan import Spacing
from lightning_artv.diffusion.samplers import SAMPLERS, Sampler
from lightning_artv.errors import UserError, check_number, check_whole
from lightning_artv.systems.base import SamplingSettings

Join = Literal["reuse", "overlap"]


@dataclass(frozen=True)
class Guidance:
    """Weight of the text; 0 leaves the branch out and costs no evaluation.

    Attributes:
        text: the paper's scale of 10 is a weight of 9.
    """

    text: float = 9.0

    def __post_init__(self) -> None:
        check_number("The guidance of the text", self.text)


@dataclass(frozen=True)
class VidRDSampling(SamplingSettings):
    """How clips are sampled and joined (paper Sec. 4.3).

    Attributes:
        steps: denoising steps per clip.
        sampler: `ddim` or `dpm-solver++`.
        spacing: how timesteps are chosen: `leading` (Stable Diffusion's), `trailing` or `linspace`.
        guidance: weight of the text.
        clip_frames: N, frames per clip; None for the number that the system was trained with.
        join: `reuse` (the paper's: noise is reversed, the first steps repeated) or `overlap` (ours:
            the last prompt frames, in order, are the next clip's first, and not shown again).
        prompt_frames: M, frames by which a clip hangs on the one before.
        noise_reuse: alpha of Eq. 7, in `reuse`; 0 for fresh noise after the prompt frames.
        guided_share: beta of Eq. 8, in `reuse`; 0 for none.
        eta: 0 is deterministic, 1 ancestral; None for 1 in `overlap` (what is held tells the rest
            little otherwise), 0 in `reuse` and where the sampler is not ddim.
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
    clip_frames: int | None = None
    join: Join = "reuse"
    prompt_frames: int = 4
    noise_reuse: float = 4.0
    guided_share: float = 0.4
    eta: float | None = None
    clip_latents: float | None = None
    set_alpha_to_one: bool | None = None

    def __post_init__(self) -> None:
        check_whole(f"{self.steps} steps: the number of denoising steps", self.steps, 1)
        check_whole("prompt_frames", self.prompt_frames, 0)
        check_number("noise_reuse (alpha)", self.noise_reuse, 0)
        check_number("guided_share (beta)", self.guided_share, 0, 1)
        if self.clip_frames is not None:
            check_whole("clip_frames", self.clip_frames, 1)
        if self.clip_latents is not None:
            check_number("The clamp of the latents", self.clip_latents, 1e-6)
        if self.eta is not None:
            check_number("eta", self.eta, 0, 1)
        if self.sampler not in SAMPLERS:
            known = " or ".join(SAMPLERS)
            raise UserError(f"Unknown sampler {self.sampler!r}: choose {known}.")
        if self.join not in ("reuse", "overlap"):
            raise UserError(f"join is {self.join!r}: choose reuse or overlap.")
        if self.sampler != "ddim" and self.eta:
            raise UserError(f"eta needs the ddim sampler, not {self.sampler}.")
        if self.sampler != "ddim" and self.guides:
            raise UserError(
                f"{self.sampler} takes several steps together and cannot be guided between them: "
                "choose ddim, guided_share=0 or join=overlap."
            )

    @property
    def guides(self) -> bool:
        """Whether Eq. 8 replaces anything."""
        return self.join == "reuse" and self.prompt_frames > 0 and self.guided_share > 0

    def check_clip(self, frames: int) -> None:
        """Raises:
        UserError: prompt frames that do not fit in clips of so many frames.
        """
        most = frames if self.join == "reuse" else frames - 1
        least = 0 if self.join == "reuse" else 1
        if not least <= self.prompt_frames <= most:
            raise UserError(
                f"{self.prompt_frames} prompt frames do not fit in clips of {frames} frames joined "
                f"by {self.join}: choose {least} to {most}."
            )

    def solver(self, holds_noised: bool) -> Sampler:
        """The sampler of a clip; `holds_noised`: some of its frames are held at the step's noise
        (`join: overlap`).
        """
        eta = self.eta
        if eta is None:
            eta = 1.0 if holds_noised and self.sampler == "ddim" else 0.0
        return Sampler(
            self.steps,
            self.sampler,
            self.spacing,
            self.set_alpha_to_one,
            self.clip_latents,
            eta=eta,
        )


@dataclass(frozen=True)
class VidRDTraining:
    """How the loss is made of a batch.

    Attributes:
        text_dropout: probability of training without the text, for its guidance.
        loss_weighting: `epsilon` is the paper's Eq. 3; see `diffusion.loss.loss_weights` for the
            others.
        given_frames: share of the samples whose first frames are given clean and have no loss, so
            that the system learns to continue a picture or a clip. 0, the paper's, never: then no
            first frame can be given.
        most_given: they are the first 1 to this many frames.
        from_noise: share of the samples that are trained at the last step, where nothing of the
            clip is left in the noise and the text alone decides (ours; 0 is the paper's).

    Raises:
        UserError: a share outside [0, 1], or no number of frames.
    """

    text_dropout: float = 0.1
    loss_weighting: Weighting = "epsilon"
    given_frames: float = 0.0
    most_given: int = 4
    from_noise: float = 0.0

    def __post_init__(self) -> None:
        check_number("text_dropout", self.text_dropout, 0, 1)
        check_number("given_frames, a share of the samples,", self.given_frames, 0, 1)
        check_number("from_noise, a share of the samples,", self.from_noise, 0, 1)
        check_whole("most_given", self.most_given, 1)
