"""Training: resume, accumulation, precision, validation noise, bad losses, checkpoints."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.precision.amp import _optimizer_handles_unscaling
from lightning.pytorch import Trainer
from stub_system import StubSystem, loader, make_batch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from lightning_artv.checkpoints.file import (
    embedded_config,
    load_system,
)
from lightning_artv.errors import UserError
from lightning_artv.pipelines.loading import start_from
from lightning_artv.training.ema import EMA
from lightning_artv.training.module import VideoModule
from lightning_artv.training.optim import adamw, learning_rates, parameter_groups, renew

CONFIG = {
    "model": {"system": {"class_path": "stub_system.StubSystem", "init_args": {"width": 4}}},
    "data": {"size": [4, 4], "fps": 8},
}


def trainer(tmp_path: Path, **options: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": tmp_path,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**{**defaults, **options})


def module(**options: Any) -> VideoModule:
    torch.manual_seed(0)
    made = VideoModule(StubSystem(), **{"lr": 1e-2, "warmup_steps": 4, **options})
    made.embedded_config = embedded_config(CONFIG)
    return made


def fit(tmp_path: Path, epochs: int, batches: int = 3, resume: Path | None = None, **options: Any):
    ema = EMA(decay=0.9, warmup=True)
    model = module()
    runner = trainer(tmp_path, max_epochs=epochs, callbacks=[ema], **options)
    runner.fit(model, loader(batches), ckpt_path=resume, weights_only=True)
    return model, ema, runner


def test_resume_continues_step_ema_and_optimiser(tmp_path: Path) -> None:
    straight, straight_ema, runner = fit(tmp_path, epochs=2)
    _, _, first = fit(tmp_path, epochs=1)
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed, resumed_ema, second = fit(tmp_path, epochs=2, resume=tmp_path / "half.ckpt")
    assert runner.global_step == second.global_step == 6
    assert straight_ema.updates == resumed_ema.updates == 6
    for name, parameter in straight.system.trainable_parameters().items():
        assert torch.equal(parameter, resumed.system.trainable_parameters()[name]), name
        assert torch.equal(straight_ema.weights()[name], resumed_ema.weights()[name]), name
    moments = [o.optimizers[0].state_dict()["state"] for o in (runner, second)]
    assert all(torch.equal(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[0])


def test_resume_without_the_checkpoint_differs(tmp_path: Path) -> None:
    """The test above would pass vacuously if training did nothing."""
    straight, _, _ = fit(tmp_path, epochs=2)
    half, _, _ = fit(tmp_path, epochs=1)
    assert not torch.equal(straight.system.net[0].weight, half.system.net[0].weight)


def test_accumulation_updates_ema_once_a_step(tmp_path: Path) -> None:
    _, ema, runner = fit(tmp_path, epochs=1, batches=6, accumulate_grad_batches=3)
    assert runner.global_step == 2
    assert ema.updates == 2


def test_accumulated_gradient_is_the_mean_over_micro_batches(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    class Recording(VideoModule):
        def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
            seen.append(self.system.net[0].weight.grad.clone())

    torch.manual_seed(0)
    model = Recording(StubSystem(), lr=0.0)
    trainer(tmp_path, max_epochs=1, accumulate_grad_batches=2).fit(model, loader(2))
    expected = module().system
    from lightning_artv.diffusion.noise import generators_for

    for start in (0, 2):
        batch = make_batch(start)
        keys = [f"train:0:{key}:0" for key in batch.keys]
        (expected.loss(batch, generators_for(0, keys)).loss / 2).backward()
    torch.testing.assert_close(seen[0], expected.net[0].weight.grad)


def test_bf16_keeps_weights_moments_and_ema_in_float32(tmp_path: Path) -> None:
    model, ema, runner = fit(tmp_path, epochs=1, precision="bf16-mixed")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {w.dtype for w in ema.weights().values()} == {torch.float32}
    state = runner.optimizers[0].state_dict()["state"]
    assert {s["exp_avg"].dtype for s in state.values()} == {torch.float32}


def test_noise_depends_on_key_and_step_not_on_batch_mates() -> None:
    model = module()
    model.training_step(make_batch(0), 0)
    model.training_step(make_batch(1), 0)  # samples 1 and 2; sample 1 was row 1 before
    first, second = model.system.seen
    assert torch.equal(first[1], second[0])
    assert not torch.equal(first[0], first[1])


def test_validation_noise_is_the_same_every_time(tmp_path: Path) -> None:
    model, runner = module(), trainer(tmp_path)
    losses = [runner.validate(model, loader(2), verbose=False)[0]["val/loss"] for _ in range(2)]
    assert losses[0] == losses[1]
    assert torch.equal(model.system.seen[0], model.system.seen[2])


def test_validation_runs_under_ema_weights(tmp_path: Path) -> None:
    """The validation loss of an average that stays at zero weights is that of the zero network."""
    ema, model = EMA(decay=0.0), module()
    runner = trainer(tmp_path, callbacks=[ema])
    ema._loaded = {n: torch.zeros_like(p) for n, p in model.system.trainable_parameters().items()}
    before = {n: p.clone() for n, p in model.system.trainable_parameters().items()}
    loss = runner.validate(model, loader(1), verbose=False)[0]["val/loss"]
    assert loss == pytest.approx(model.system.seen[0].square().mean().item(), rel=1e-5)
    after = model.system.trainable_parameters()
    assert all(torch.equal(before[n], after[n]) for n in before)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nan_loss_stops_before_the_weights_and_names_the_sample(tmp_path: Path) -> None:
    model = VideoModule(StubSystem(poison="sample3"), lr=1e-2)
    runner = trainer(tmp_path, max_epochs=1)
    with pytest.raises(UserError, match=r"loss is not finite at step 1 for sample3: "):
        runner.fit(model, loader(3))
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_infinite_gradient_stops(tmp_path: Path) -> None:
    model = module()
    model.system.net[0].weight.register_hook(lambda g: g * math.inf)
    with pytest.raises(UserError, match=r"gradient is not finite at step 0 for sample0, sample1: "):
        trainer(tmp_path, max_epochs=1).fit(model, loader(1))


def test_warmup_and_parameter_groups() -> None:
    system = StubSystem()
    trainable = system.trainable_parameters()
    groups = parameter_groups(system, trainable, 0.1)
    assert [len(g["params"]) for g in groups] == [
        2,
        4,
    ]  # two matrices; two biases, norm weight and bias
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    optimizer = adamw(system, trainable, 1.0, 0.0, (0.9, 0.999))
    assert first_rates(optimizer, 6, warmup_steps=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def first_rates(optimizer: Optimizer, steps: int, warmup_steps: int, total: int | None = None):
    scheduler = learning_rates(optimizer, warmup_steps, total)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_decay_is_half_a_cosine_from_the_warm_up_to_the_last_step() -> None:
    def rates(**schedule: int) -> list[float]:
        return first_rates(SGD([nn.Parameter(torch.zeros(1))], lr=2.0), **schedule)

    # Torch's own schedule, which has no warm-up, computes it step from step.
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler, reference = CosineAnnealingLR(optimizer, T_max=10), []
    for _ in range(11):
        reference.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(steps=11, warmup_steps=0, total=10) == pytest.approx(reference, abs=1e-12)
    with_warmup = rates(steps=17, warmup_steps=4, total=14)
    assert with_warmup[:4] == [0.5, 1.0, 1.5, 2.0]
    assert with_warmup[4:15] == pytest.approx(reference, abs=1e-12)
    assert with_warmup[14:] == [0.0, 0.0, 0.0]  # it stays there
    assert rates(steps=2, warmup_steps=4, total=2) == [0.5, 1.0]  # a run that ends in its warm-up


def test_decay_follows_max_steps(tmp_path: Path) -> None:
    model = module(lr_decay="cosine", warmup_steps=0)
    runner = trainer(tmp_path, max_steps=4)
    runner.fit(model, loader(3))
    (optimizer,) = runner.optimizers
    assert optimizer.param_groups[0]["lr"] == 0.0
    with pytest.raises(UserError, match=r"lr_decay cosine .* set trainer\.max_steps\."):
        trainer(tmp_path, max_epochs=1).fit(module(lr_decay="cosine"), loader(1))


def test_checkpoint_holds_no_frozen_weights_and_loads_both_sets(tmp_path: Path) -> None:
    model, ema, runner = fit(tmp_path, epochs=1)
    path = tmp_path / "a.ckpt"
    runner.save_checkpoint(path)
    stored = torch.load(path, weights_only=True)
    assert not [key for key in stored["state_dict"] if ".vae." in key]
    raw = load_system(path, "raw", trusted_packages=["stub_system"])
    averaged = load_system(path, trusted_packages=["stub_system"])
    for name, parameter in model.system.trainable_parameters().items():
        assert torch.equal(parameter, raw.trainable_parameters()[name])
        assert torch.equal(ema.weights()[name], averaged.trainable_parameters()[name])
    assert not raw.training
    assert (raw.origin.size, raw.origin.fps) == ((4, 4), 8.0)


def test_checkpoint_saved_while_ema_is_swapped_in_is_the_same(tmp_path: Path) -> None:
    model, ema, runner = fit(tmp_path, epochs=1)
    runner.save_checkpoint(tmp_path / "a.ckpt")
    with ema.applied(model):
        runner.save_checkpoint(tmp_path / "b.ckpt")
    a, b = (torch.load(tmp_path / f"{n}.ckpt", weights_only=True) for n in "ab")
    for name in a["state_dict"]:
        assert torch.equal(a["state_dict"][name], b["state_dict"][name])
    for name in a["ema"]["weights"]:
        assert torch.equal(a["ema"]["weights"][name], b["ema"]["weights"][name])


def test_resume_with_another_architecture_names_the_keys(tmp_path: Path) -> None:
    _, _, runner = fit(tmp_path, epochs=1)
    runner.save_checkpoint(tmp_path / "a.ckpt")
    wider = VideoModule(StubSystem(width=8))
    with pytest.raises(UserError, match=r"another architecture: 'system.net.0.weight' is \(4, 4\)"):
        trainer(tmp_path, max_epochs=2).fit(wider, loader(1), ckpt_path=tmp_path / "a.ckpt")


def test_a_variant_starts_from_another_runs_averaged_weights(tmp_path: Path) -> None:
    """A part that the checkpoint lacks is new; what the module and its EMA start with is checked
    before the first step."""
    _, ema, runner = fit(tmp_path, epochs=1)
    runner.save_checkpoint(tmp_path / "prior.ckpt")
    model = module(init_from=str(tmp_path / "prior.ckpt"))
    model.system.extra = torch.nn.Linear(2, 2)  # part of the variant alone
    fresh = model.system.extra.weight.detach().clone()
    started = EMA()
    second = trainer(tmp_path, max_steps=0, callbacks=[started])
    second.fit(model, loader(3))
    for name, average in ema.weights().items():
        assert torch.equal(model.system.trainable_parameters()[name], average), name
        assert torch.equal(started.weights()[name], average), name
    assert torch.equal(model.system.extra.weight, fresh)
    assert start_from(model.system, tmp_path / "prior.ckpt") == (
        f"Starting from 6 of 8 weights of {tmp_path / 'prior.ckpt'}; new in: extra."
    )


def test_a_resumed_run_does_not_read_what_it_once_started_from(tmp_path: Path) -> None:
    _, _, runner = fit(tmp_path, epochs=1)
    runner.save_checkpoint(tmp_path / "half.ckpt")
    model = module(init_from=str(tmp_path / "gone.ckpt"))
    trainer(tmp_path, max_epochs=2).fit(
        model, loader(3), ckpt_path=tmp_path / "half.ckpt", weights_only=True
    )
    with pytest.raises(UserError, match=r"no checkpoint '.*gone\.ckpt'"):
        trainer(tmp_path, max_epochs=1).fit(
            module(init_from=str(tmp_path / "gone.ckpt")), loader(3)
        )


def test_a_start_from_another_architecture_is_refused(tmp_path: Path) -> None:
    _, _, runner = fit(tmp_path, epochs=1)
    runner.save_checkpoint(tmp_path / "prior.ckpt")
    with pytest.raises(UserError, match=r"another architecture.*'net\.0\.weight' is \(4, 4\)"):
        start_from(StubSystem(width=8), tmp_path / "prior.ckpt")
    other = StubSystem()
    other.net = torch.nn.Identity()
    other.head = torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match="no weight in common"):
        start_from(other, tmp_path / "prior.ckpt")


def test_one_kernel_steps_as_torch_s_plain_adamw() -> None:
    torch.manual_seed(0)
    system = StubSystem()
    reference = copy.deepcopy(system)
    ours = adamw(system, system.trainable_parameters(), 1e-2, 0.1, (0.9, 0.99))
    groups = parameter_groups(reference, reference.trainable_parameters(), 0.1)
    plain = AdamW(groups, lr=1e-2, betas=(0.9, 0.99), foreach=False, fused=False)
    assert all(group["fused"] for group in ours.param_groups)
    for _ in range(20):
        for a, b in zip(system.parameters(), reference.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        ours.step(), plain.step()
    for a, b in zip(system.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_gradients_are_clipped_under_a_loss_scale() -> None:
    """Lightning refuses to clip for an optimiser that unscales gradients itself."""
    system = StubSystem()
    assert not _optimizer_handles_unscaling(
        adamw(system, system.trainable_parameters(), 1e-2, 0.1, (0.9, 0.99))
    )


def test_steps_of_an_earlier_version_go_where_the_parameters_are() -> None:
    layer = nn.Linear(2, 2, device="meta")
    optimizer = AdamW(layer.parameters(), fused=False)
    optimizer.state[layer.weight] = {"step": torch.tensor(3.0), "exp_avg": torch.empty(2, 2)}
    renew(optimizer, [{"fused": True}], None, 3)
    assert optimizer.state[layer.weight]["step"].device.type == "meta"
    assert optimizer.param_groups[0]["fused"] is True
