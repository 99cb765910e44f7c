"""Overlays in configs/artv/ablation change, on every base, what they name and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from frame_batch import frame_batch

from data_prep.options import ShapesOptions
from data_prep.shards.shapes import write_shapes
from evaluation.studies.artv.study import FULL_SIZE as VARIANTS_FULL_SIZE
from evaluation.studies.artv.study import STUDY, VARIANTS
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.systems.artv import ARTV
from lightning_artv.training.command import VideoCLI, run

ROOT = Path(__file__).parents[1]
SMALL = ROOT / "configs" / "artv" / "ablations.yaml"
FULL_SIZE = ROOT / "configs" / "artv" / "train.yaml"
OVERLAYS = sorted((ROOT / "configs" / "artv" / "ablation").glob("*.yaml"))
NAMES = [path.stem for path in OVERLAYS]
COMPARED = {SMALL: VARIANTS, FULL_SIZE: VARIANTS_FULL_SIZE}
REFUSED = {
    (SMALL, "anchor_window_4"): "A window of 24 targets cannot share an anchor",
    (SMALL, "mask_channels_one"): "'models/worlds' has another architecture",
}

Run = Callable[..., VideoCLI]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def fit(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A step of training and validation with a base and overlays."""
    out = tmp_path_factory.mktemp("fit")
    shards = out / "shards"
    write_shapes(shards, ShapesOptions(4, scenes="worlds", frames=32))

    @cache
    def fit(*configs: Path) -> VideoCLI:
        options = [f"--data.train={shards}", f"--data.val={shards}"]
        options += [f"--trainer.default_root_dir={out}", "--trainer.accelerator=cpu"]
        options += ["--trainer.fast_dev_run=true", "--data.num_workers=0", "--data.size=32"]
        options += [
            f"--data.batch_size={4 if FULL_SIZE in configs else 24}",
            "--data.val_batch_size=4",
        ]
        if FULL_SIZE in configs:
            options.append(f"--model.system.init_args.unet.init_args.pretrained={sd_folder}")
        words = [f"--config={path}" for path in configs]
        return run(["fit", *words, *options])

    return fit


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value; lists are values."""
    if not isinstance(settings, dict) or not settings:
        return {prefix[:-1]: settings}
    return {
        key: value
        for name, part in settings.items()
        for key, value in flat(part, f"{prefix}{name}.").items()
    }


def resolved(cli: VideoCLI) -> dict[str, Any]:
    return flat(cli.config["fit"].as_dict())


def conditions(system: ARTV) -> Any:
    """What the networks are shown of two gray frames with a white anchor, 40 times."""
    frames = torch.full((40, 4, 3, 32, 32), 100, dtype=torch.uint8)
    frames[:, 3] = 255
    words = [str(i) for i in range(40)]
    batch = frame_batch(frames, words, words)
    with torch.no_grad():
        return system.eval().prepare(batch, generators_for(0, words))[1]


def mask_channels(system: ARTV) -> int:
    assert system.denoiser.mask is not None
    return int(system.denoiser.mask.unet.config.out_channels)


EFFECTS: dict[str, Callable[[VideoCLI, ARTV], bool]] = {
    "no_mask": lambda cli, system: system.denoiser.mask is None,
    "no_anchor": lambda cli, system: not conditions(system).anchor.any(),
    "no_noise_augmentation": lambda cli, system: (
        not conditions(system).noise_level.any() and system.sampling.noise_level == 0
    ),
    "noise_levels_550": lambda cli, system: (
        conditions(system).noise_level.max() > 300 and system.sampling.noise_level == 200
    ),
    "reference_noise": lambda cli, system: system.training_options.reference_noise == 0.15,
    "static_posterior": lambda cli, system: system.denoiser.masking.static_noise == "posterior",
    "static_residual": lambda cli, system: system.denoiser.masking.static_noise == "residual",
    "static_literal": lambda cli, system: system.denoiser.masking.static_noise == "literal",
    "mask_channels_one": lambda cli, system: mask_channels(system) == 1,
    "mask_channels_all": lambda cli, system: (
        mask_channels(system) == system.autoencoder.channels > 1
    ),
    "own_references": lambda cli, system: system.training_options.own_references == 0.5,
    "no_own_references": lambda cli, system: system.training_options.own_references == 0,
    "anchor_window_4": lambda cli, system: cli.datamodule.windows.anchor_window == 4,
}
"""What is true of the built objects with an overlay."""


def test_every_overlay_has_an_effect_that_is_tested() -> None:
    assert set(NAMES) == set(EFFECTS)
    assert set(VARIANTS) | set(VARIANTS_FULL_SIZE) <= {"full", *NAMES}


@pytest.mark.parametrize("base", COMPARED, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", NAMES)
def test_an_overlay_changes_what_it_names_and_nothing_else(name: str, base: Path, fit: Run) -> None:
    if (base, name) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[base, name]):
            fit(base, ROOT / "configs" / "artv" / "ablation" / f"{name}.yaml")
        return
    before, cli = fit(base), fit(base, ROOT / "configs" / "artv" / "ablation" / f"{name}.yaml")
    assert cli.trainer.global_step == 1 and cli.trainer.callback_metrics["val/loss"].isfinite()
    old, new = resolved(before), resolved(cli)
    named = dict(STUDY.variant(name).changes)
    assert named and named.items() <= new.items()
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    assert changed == {key for key, value in named.items() if old[key] != value}

    effect, systems = EFFECTS[name], (before.model.system, cli.model.system)
    assert effect(cli, systems[1])
    if name in COMPARED[base]:
        assert changed and not effect(before, systems[0])


def test_sweeps_are_the_papers_levels_and_every_guidance() -> None:
    sweeps = STUDY.sweeps()
    assert sweeps["t_test"].values == (0, 50, 100, 150, 200, 250, 300, 400, 550)
    changes = dict(STUDY.variant(sweeps["t_test"].variant).changes)  # it has seen all of them
    trained = changes["model.system.init_args.denoiser.max_noise_level"]
    assert trained == max(sweeps["t_test"].values)
    assert sweeps["t_test"].variant in STUDY.budgets["quick"].variants
    assert {sweep.setting for sweep in sweeps.values()} == {
        "noise_level",
        *(f"guidance.{condition}" for condition in ("references", "anchor", "text")),
    }
