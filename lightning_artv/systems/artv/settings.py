"""How ART•V is trained, and how it samples (what `--set guidance.text=7` may name)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from lightning_artv.diffusion.loss import Weighting
from lightning_artv.diffusion.plan import Spacing
from lightning_artv.diffusion.samplers import Sampler
from lightning_artv.errors import UserError, check_number, check_whole
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
        guided_from, guided_to: guidance is applied while t / N, of N timesteps of the schedule, is
            in [guided_from, guided_to]; outside, one branch is evaluated (Kynkäänniemi et al.
            2024).
        deep_every: the U-Nets run their deep blocks at every so many denoising steps and take over
            what those answered in between (DeepCache, Ma et al. 2024); 1, the paper's, at all.
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
    guided_from: float = 0.0
    guided_to: float = 1.0
    deep_every: int = 1

    def __post_init__(self) -> None:
        check_whole(f"{self.steps} steps: the number of denoising steps", self.steps, 1)
        if self.first_steps is not None:
            check_whole("The number of denoising steps of the first frame", self.first_steps, 1)
        if self.first_guidance is not None:
            check_number("The guidance of the first frame", self.first_guidance)
        check_whole("The noise level", self.noise_level, 0)
        if self.clip_latents is not None:
            check_number("The clamp of the latents", self.clip_latents, 1e-6)
        check_number("guided_from", self.guided_from, 0, 1)
        check_number("guided_to", self.guided_to, self.guided_from, 1)
        check_whole("deep_every", self.deep_every, 1)

    def guides_at(self, level: float) -> bool:
        """Whether guidance is applied at a noise level, t as a share of the schedule."""
        return self.guided_from <= level <= self.guided_to

    def solver(self, first: bool = False) -> Sampler:
        """The sampler of a frame; `first`: of a first frame that is made from the text."""
        steps = self.first_steps if first and self.first_steps is not None else self.steps
        return Sampler(steps, self.sampler, self.spacing, self.set_alpha_to_one, self.clip_latents)

    def steps_of(self, frames: int, given: bool) -> int:
        """Denoising steps of a video of `frames`, whose first frame may be given."""
        first = 0 if given else self.solver(first=True).steps
        return first + (frames - 1) * self.steps

    def weights(self, first: bool, use_anchor: bool = True) -> dict[str, float]:
        """The guidance of a frame; `first`: of a first frame, where there is nothing but the
        text. Without use of the anchor there is nothing to be guided by in it.
        """
        if first:
            given = self.first_guidance
            return {"text": self.guidance.text if given is None else given}
        weights = asdict(self.guidance)
        return weights if use_anchor else {**weights, "anchor": 0.0}


@dataclass(frozen=True)
class ARTVTraining:
    """How the loss is made of a batch; of no matter to generation.

    Attributes:
        condition_dropout: probability of dropping each of text, references and anchor (Sec. 4).
        first_frame_share: additional probability of dropping references and anchor together, so
            that the system learns to make its own first frames sooner than by chance (0 in the
            paper).
        loss_weighting: `epsilon` is the paper's Eq. 4; see `diffusion.loss.loss_weights` for
            the others.
        unreferenced_weight: weight of the samples whose references are dropped (1 in the paper).
            Where the loss counts clean frames, a frame made from nothing is wrong by 50 times as
            much as one made from its predecessor, and drowns what there is to learn about motion.
        own_references: share of the training windows in which all targets but the first follow
            frames that the system made itself; needs windows of 2 targets or more
            (`NextFrame.targets`). 0, the paper's, never.
        own_reference_steps: denoising steps per such frame, made before the training step
            (`own_references.py`); of no matter to streams.
        streams: a window's targets are trained one per step, over as many steps as it has targets,
            and what a step has made is the next step's own reference (`streams.py`).
            `first_frame_share` and `own_references` are then shares of windows, and a window makes
            first frames only, or none.
        from_noise: share of the targets after own references of a stream that start where
            generation does: at the last timestep, in noise with no trace of the target.
        huber: where a frame follows references, an error `e` counts as `sqrt(e^2 + huber^2) -
            huber` (pseudo-Huber; Song & Dhariwal 2024), so that small faults, which add up over a
            video, weigh more beside large ones. 0, the paper's, `e^2`. First frames keep `e^2`:
            where nothing shows yet what there will be, the median of all pictures is empty.
        reference_noise: largest standard deviation, in latents, of noise on the training
            references that are *copied* as well as seen (`augmentation.faults`), while the target
            stays clean: the system learns to mend what it copies. 0, the paper's, copies true
            frames in training, and a fault of a generated frame stays for ever.

    Raises:
        UserError: a share outside [0, 1], or a negative noise.
    """

    condition_dropout: float = 0.1
    first_frame_share: float = 0.0
    loss_weighting: Weighting = "epsilon"
    unreferenced_weight: float = 1.0
    own_references: float = 0.0
    own_reference_steps: int = 1
    streams: bool = False
    from_noise: float = 0.0
    huber: float = 0.0
    reference_noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("reference_noise", "huber"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name} is {getattr(self, name)}: choose 0 or more.")
        for name in ("condition_dropout", "first_frame_share", "own_references", "from_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"{name} is {getattr(self, name)}, and no share: choose one in [0, 1]."
                )
        if self.from_noise and not self.streams:
            raise UserError("from_noise is of streams: set streams to true, or from_noise to 0.")
