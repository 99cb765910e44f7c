"""Bad steps: stopped or skipped before they reach the weights, with the samples named."""

from __future__ import annotations

import math
import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from stub_system import StubSystem, loader
from torch.multiprocessing.spawn import start_processes

from lightning_artv.errors import UserError
from lightning_artv.training.guards import StepGuard, listed
from lightning_artv.training.module import VideoModule

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def trainer(tmp_path: Path, *callbacks: Callback, **options: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": tmp_path,
        "max_epochs": 1,
    }
    return Trainer(**{**defaults, **options}, callbacks=list(callbacks))


def module(poison: str = "", **options: Any) -> VideoModule:
    torch.manual_seed(0)
    return VideoModule(StubSystem(poison=poison), **{"lr": 1e-2, **options})


def scaled_gradients(model: VideoModule, factor: Callable[[int], float]) -> None:
    """Multiply the first layer's gradient by `factor(step)`."""
    model.system.net[0].weight.register_hook(lambda g: g * factor(model.global_step))


class Weights(Callback):
    """The first layer after each step."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.seen.append(pl_module.system.net[0].weight.detach().clone())


def test_every_run_has_a_guard_and_a_configured_one_is_kept(tmp_path: Path) -> None:
    runner = trainer(tmp_path)
    runner.fit(module(), loader(1))
    assert [c.skip_non_finite for c in runner.callbacks if isinstance(c, StepGuard)] == [0]
    mine = StepGuard(skip_non_finite=3)
    runner = trainer(tmp_path, mine)
    runner.fit(module(), loader(1))
    assert [c for c in runner.callbacks if isinstance(c, StepGuard)] == [mine]


def test_under_accumulation_all_of_the_step_is_judged_and_named(tmp_path: Path) -> None:
    """sample3 is in the step's second micro-batch of three."""
    model = module(poison="sample3")
    before = model.system.net[0].weight.detach().clone()
    runner = trainer(tmp_path, accumulate_grad_batches=3)
    with pytest.raises(UserError, match=r"loss is not finite at step 0 for sample3: lower"):
        runner.fit(model, loader(6))
    assert torch.equal(model.system.net[0].weight, before)

    model = module()
    scaled_gradients(model, lambda step: math.nan if step == 1 else 1.0)
    names = ", ".join(f"sample{i}" for i in range(6, 12))
    with pytest.raises(UserError, match=f"gradient is not finite at step 1 for {names}: lower"):
        trainer(tmp_path, accumulate_grad_batches=3).fit(model, loader(6))


def test_skipped_steps_change_no_weight_and_end_at_the_limit(tmp_path: Path) -> None:
    model, weights, guard = module(), Weights(), StepGuard(skip_non_finite=2)
    scaled_gradients(model, lambda step: math.inf if step in (1, 3, 5) else 1.0)
    runner = trainer(tmp_path, guard, weights, gradient_clip_val=1.0)
    with pytest.raises(UserError, match=r"at step 5 for sample10, sample11 after 2 skipped steps"):
        runner.fit(model, loader(8))
    changed = [not torch.equal(a, b) for a, b in zip(weights.seen, weights.seen[1:], strict=False)]
    assert changed == [False, True, False, True]  # steps 1 to 4
    moments = runner.optimizers[0].state[model.system.net[0].weight]
    assert int(moments["step"]) == 3  # Adam does not know of skipped steps
    assert bool(torch.isfinite(model.system.net[0].weight).all())
    assert guard.skipped == 2


@pytest.mark.parametrize("clip", [0.05, 1e9])
def test_clipping_takes_the_guard_s_norm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: float
) -> None:
    taken, weights, lightning_s = [], Weights(), Weights()
    total_norm = torch.nn.utils.get_total_norm

    def counted(*gradients: Any) -> torch.Tensor:
        taken.append(total_norm(*gradients))
        return taken[-1]

    for name in ("clip_grad._get_total_norm", "get_total_norm"):
        monkeypatch.setattr(f"torch.nn.utils.{name}", counted)
    trainer(tmp_path, weights, gradient_clip_val=clip).fit(module(), loader(4))
    assert len(taken) == 4 and min(taken) > 0.05
    monkeypatch.setattr(
        VideoModule, "configure_gradient_clipping", LightningModule.configure_gradient_clipping
    )
    trainer(tmp_path, lightning_s, gradient_clip_val=clip).fit(module(), loader(4))
    for ours, theirs in zip(weights.seen, lightning_s.seen, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-6)


def test_values_are_clipped_as_values(tmp_path: Path) -> None:
    model, seen = module(), []
    model.on_before_zero_grad = lambda *_: seen.append(model.system.net[0].weight.grad)  # type: ignore[method-assign]
    options = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"}
    trainer(tmp_path, **options).fit(model, loader(2))
    clipped = [g.abs().max().item() for g in seen if g is not None]
    assert clipped and max(clipped) == pytest.approx(1e-3)


def test_counts_and_norms_survive_a_resume(tmp_path: Path) -> None:
    def run(epochs: int, resume: Path | None = None) -> tuple[StepGuard, Trainer]:
        model, guard = module(), StepGuard(skip_non_finite=9)
        scaled_gradients(model, lambda step: math.inf if step in (1, 7) else 1.0)
        runner = trainer(tmp_path, guard, max_epochs=epochs)
        runner.fit(model, loader(5), ckpt_path=resume, weights_only=True)
        return guard, runner

    whole, _ = run(2)
    _, half = run(1)
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = run(2, tmp_path / "half.ckpt")
    assert resumed.state_dict() == whole.state_dict()
    assert whole.skipped == 2 and len(whole.state_dict()["norms"]) == 8


@pytest.mark.parametrize("skip", [False, True])
def test_a_spike_is_reported_with_its_samples(tmp_path: Path, skip: bool) -> None:
    model, weights = module(lr=1e-4), Weights()
    scaled_gradients(model, lambda step: 1e4 if step in (3, 25) else 1.0)
    guard = StepGuard(skip_spikes=skip)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path, guard, weights).fit(model, loader(28))
    spikes = [str(w.message) for w in caught if "gradient norm" in str(w.message)]
    assert len(spikes) == guard.spikes == 1  # step 3 is too early to judge
    assert "at step 25 is above 10 times its running median" in spikes[0]
    assert "for sample50, sample51" in spikes[0] and ("skipped" in spikes[0]) == skip
    assert torch.equal(weights.seen[24], weights.seen[25]) == skip


def test_the_median_is_of_the_window(tmp_path: Path) -> None:
    """After a lasting change of level the guard falls silent."""
    model, guard = module(lr=0.0), StepGuard(spike_window=20, spike_factor=5)
    scaled_gradients(model, lambda step: 1e4 if step >= 30 else 1.0)
    trainer(tmp_path, guard).fit(model, loader(60))
    assert 5 <= guard.spikes <= 11  # until half of the window is new
    silent = StepGuard(spike_factor=None)
    trainer(tmp_path, silent).fit(module(), loader(30))
    assert silent.spikes == 0


def scaled(tmp_path: Path, initial: float, bad: range) -> tuple[VideoModule, StepGuard]:
    model, guard = module(), StepGuard()
    scaled_gradients(model, lambda step: math.inf if step in bad else 1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=initial)
    plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    trainer(tmp_path, guard, plugins=[plugin]).fit(model, loader(8))
    return model, guard


def test_a_loss_scale_finds_its_level_by_itself(tmp_path: Path) -> None:
    model, guard = scaled(tmp_path, 1024.0, range(0, 4))
    assert guard.skipped == 0
    assert bool(torch.isfinite(model.system.net[0].weight).all())


def test_a_loss_scale_of_one_that_still_overflows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gradient is not finite at step 2"):
        scaled(tmp_path, 4.0, range(0, 8))


def _rank(rank: int, port: int, folder: str, skip: int) -> None:
    """One of two gloo processes with the same batches; sample5 is poison for rank 1 only."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2")
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    model, guard = module(poison="sample5" if rank == 1 else ""), StepGuard(skip_non_finite=skip)
    options: dict[str, Any] = {"strategy": "ddp", "devices": 2, "use_distributed_sampler": False}
    message = "finished"
    try:
        trainer(Path(folder), guard, **options).fit(model, loader(4))
    except UserError as error:
        message = str(error)
    weights = model.system.net[0].weight.detach().double().sum().item().hex()
    Path(folder, f"rank{rank}").write_text(f"{weights} {guard.skipped} {message}")


@pytest.mark.parametrize("skip", [0, 1])
def test_two_ranks_skip_or_stop_together(tmp_path: Path, skip: int) -> None:
    """The rank that meets nothing bad neither waits for ever nor goes on alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(_rank, (port, str(tmp_path), skip), nprocs=2, start_method="fork")
    one, two = ((tmp_path / f"rank{rank}").read_text() for rank in range(2))
    assert one == two
    expected = " 1 finished" if skip else " 0 The loss is not finite at step 2 for sample5: "
    assert expected in one


@pytest.mark.parametrize(
    "options", [{"skip_non_finite": -1}, {"spike_window": 5}, {"spike_factor": 0.5}]
)
def test_impossible_options_are_user_errors(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="StepGuard"):
        StepGuard(**options)


def test_very_many_names_are_cut() -> None:
    assert listed(["a", "b", "a"]) == "a, b"
    assert listed([str(i) for i in range(70)]).endswith("62, 63 and 6 more")
