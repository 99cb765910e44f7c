"""`python -m benchmarks.fast_mode`: what fast generation loses on `models/shapes`.

Held-out moving shapes are continued from their first frame by denoising in many guided steps and by
the fast mode's settings in proportion; PSNR against the truth, and with `--classifier` (of
`python -m evaluation shapes-classifier`) the Fréchet distance of its features to other held-out
clips. One thread; a quarter of an hour for 64 clips on an idle core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evaluation.shapes.classifier import Classifier, load_classifier, look
from evaluation.statistics import Gaussian, frechet_distance
from lightning_artv.demo.evaluate import figures
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.pipelines.loading import load_system
from lightning_artv.synthetic.scenes import Scene, scene_at
from lightning_artv.systems.base import SamplingSettings, Segment, VideoSystem
from lightning_artv.systems.settings import with_settings

MODEL = Path(__file__).parents[1] / "models" / "shapes"
GUIDED = {"guidance.references": 0.1, "guidance.anchor": 0.1, "guidance.text": 0.25}
"""Weights that a small model of pixels bears; the paper's ruin its frames."""
SHORT = {"sampler": "dpm-solver++", "guided_from": 0.2, "guided_to": 0.7}
WAYS = {
    "its own: 1 step": {},
    "exact: 10 steps of 4 evaluations": {"steps": 10, **GUIDED},
    "fast: 4 steps, guided in 2": {"steps": 4, **GUIDED, **SHORT},
    "fast: 6 steps, guided in 3, deep every 2": {"steps": 6, **GUIDED, **SHORT, "deep_every": 2},
}
REAL, REAL_SEED = 256, 2
"""Clips that the distances are to, of other scenes."""


def main() -> None:
    """Print a row per way of sampling."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--classifier", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    system, scenes = load_system(MODEL), scenes_of(options.clips, 1)
    truth = videos(scenes)
    classifier = (
        load_classifier(options.classifier, torch.device("cpu")) if options.classifier else None
    )
    real = None if classifier is None else seen(classifier, videos(scenes_of(REAL, REAL_SEED)))
    for name, changes in WAYS.items():
        made = continued(system, scenes, truth, with_settings(system.sampling, changes))
        found = figures(made, truth, scenes)
        shown = [f"PSNR at frame {n}: {found['psnr'][n - 1]:.2f} dB" for n in (1, 8, 15)]
        if classifier is not None and real is not None:
            shown.append(f"FVD {float(frechet_distance(real, seen(classifier, made))):.1f}")
        print(f"{name}: {', '.join(shown)}", flush=True)


def scenes_of(count: int, seed: int) -> list[Scene]:
    """Held-out scenes."""
    return [scene_at(index, seed, "heldout") for index in range(count)]


def videos(scenes: Sequence[Scene]) -> Tensor:
    """Their clips, uint8 `[N, T, H, W, 3]`."""
    return torch.from_numpy(np.stack([scene.video() for scene in scenes]))


def continued(
    system: VideoSystem, scenes: Sequence[Scene], truth: Tensor, settings: SamplingSettings
) -> Tensor:
    """Clips from the true first frames and the captions, uint8 `[N, T, H, W, 3]`."""
    frames = system.generate(
        [Segment(tuple(scene.caption() for scene in scenes), truth.shape[1])],
        generators_for(0, [f"demo:{index}" for index in range(len(scenes))]),
        (truth.shape[2], truth.shape[3]),
        truth[:, 0].permute(0, 3, 1, 2),
        settings,
    )
    return torch.stack([frame.permute(0, 2, 3, 1) for frame in frames], dim=1)


def seen(classifier: Classifier, clips: Tensor) -> Gaussian:
    """The classifier's features of clips, as a Gaussian."""
    return Gaussian.of(look(classifier.network, clips.permute(0, 1, 4, 2, 3)).features)


if __name__ == "__main__":
    main()
