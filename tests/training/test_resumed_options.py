"""A run goes on with the options that it is given, and says which are others than before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from stub_runs import StubRun, stub_data  # noqa: F401
from torch import nn

from lightning_artv.checkpoints.file import read_checkpoint
from lightning_artv.training.module import VideoModule
from lightning_artv.training.optim import adamw, kind_of, learning_rates, renew
from lightning_artv.training.resume import changes

pytestmark = [pytest.mark.usefixtures("stub_data")]

OLD = {"lr": 1e-3, "weight_decay": 0.01, "betas": [0.9, 0.99], "warmup_steps": 0}


def begin(folder: Path, ema: float = 0.9, steps: int = 4, **model: Any) -> StubRun:
    run = StubRun(folder / "run", {"every_n_train_steps": 2}, max_steps=steps, limit_val_batches=0)
    run.config["model"] |= OLD | model
    run.config["trainer"]["callbacks"][0]["init_args"]["decay"] = ema
    return run


# the options, and what the first step after the resume (number 5, lr of the fifth) trains with
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lr": ({"lr": 5e-4}, {"lr": 5e-4}),
    "betas": ({"betas": [0.8, 0.95]}, {"betas": (0.8, 0.95)}),
    "weight_decay": ({"weight_decay": 0.5}, {"weight_decay": 0.5}),
    "warmup_steps": ({"warmup_steps": 10}, {"lr": 1e-3 * 5 / 10}),
    "lr_decay": ({"lr_decay": "cosine"}, {"lr": 1e-3 * 0.5 * (1 + math.cos(math.pi * 4 / 8))}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("warm", [0, 3], ids=["without a schedule", "with one"])
def test_an_option_given_on_resume_is_applied_and_named(
    name: str, warm: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, expected = CASES[name]
    assert begin(tmp_path, warmup_steps=warm).fit() == 0
    seen: list[dict[str, Any]] = []

    def look(self: VideoModule, optimizer: torch.optim.Optimizer) -> None:
        seen.append({k: v for k, v in optimizer.param_groups[0].items() if k != "params"})

    monkeypatch.setattr(VideoModule, "on_before_optimizer_step", look)
    other = begin(tmp_path, steps=8, **{"warmup_steps": warm, **changed})
    was = str(warm if name == "warmup_steps" else OLD.get(name, "none")).replace("[", r"\[")
    with pytest.warns(UserWarning, match=rf"from step 4 .*model\.{name} .*\(was {was}"):
        assert other.fit("--ckpt_path=last") == 0
    assert len(seen) == 4
    if name == "lr_decay" and warm:
        expected = {"lr": 1e-3 * 0.5 * (1 + math.cos(math.pi * (4 - warm) / (8 - warm)))}
    for key, value in expected.items():
        assert seen[0][key] == pytest.approx(value), key
    assert seen[0]["initial_lr" if "initial_lr" in seen[0] else "lr"] == changed.get("lr", 1e-3)


@pytest.mark.filterwarnings("ignore")
def test_unchanged_it_says_nothing(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    assert begin(tmp_path).fit() == 0
    recwarn.clear()
    assert begin(tmp_path, steps=6).fit("--ckpt_path=last") == 0
    assert not [w for w in recwarn if "other options" in str(w.message)]


def test_the_average_uses_the_new_decay_from_where_its_count_stood(tmp_path: Path) -> None:
    assert begin(tmp_path).fit() == 0
    before = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    other = begin(tmp_path, ema=0.25, steps=5)
    with pytest.warns(UserWarning, match=r"EMA\.decay 0\.25 \(was 0\.9\)"):
        assert other.fit("--ckpt_path=last") == 0
    after = read_checkpoint(other.last)
    assert (before["ema"]["updates"], after["ema"]["updates"]) == (4, 5)
    for name, average in after["ema"]["weights"].items():
        new = after["state_dict"][f"system.{name}"]
        expected = 0.25 * before["ema"]["weights"][name] + 0.75 * new
        torch.testing.assert_close(average, expected)


def test_an_average_that_is_left_out_is_named(tmp_path: Path) -> None:
    assert begin(tmp_path).fit() == 0
    other = begin(tmp_path, steps=5)
    del other.config["trainer"]["callbacks"][0]
    with pytest.warns(UserWarning, match=r"EMA none \(was there\)"):
        assert other.fit("--ckpt_path=last") == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", ["another optimiser", "weights alone"])
def test_what_cannot_be_gone_on_from_is_one_sentence(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begin(tmp_path)
    assert run.fit() == 0
    stored = dict(torch.load(run.last, weights_only=True))
    if what == "weights alone":
        del stored["optimizer_states"]
    else:
        state = stored["optimizer_states"][0]["state"]
        stored["optimizer_states"][0]["state"] = {
            n: {"state1": m["exp_avg"], "state2": m["exp_avg_sq"], "step": 4}
            for n, m in state.items()
        }
    path = tmp_path / "a.ckpt"
    torch.save(stored, path)
    capsys.readouterr()
    assert begin(tmp_path, steps=6).fit(f"--ckpt_path={path}") == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    words = "--model.init_from" if what == "weights alone" else "set model.optimizer adamw8bit"
    assert message.startswith("error: ") and words in message


def test_a_renewed_schedule_is_the_one_that_never_stopped() -> None:
    def made(warmup: int) -> Any:
        layer = nn.Linear(2, 2)
        optimizer = adamw(layer, dict(layer.named_parameters()), 1e-3, 0.1, (0.9, 0.99))
        options = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        return layer, optimizer, learning_rates(optimizer, warmup, 20), options

    layer, whole, schedule, options = made(5)
    for _ in range(7):
        layer(torch.ones(2)).sum().backward()
        whole.step()
        schedule.step()
    expected = [dict(group) for group in whole.param_groups], schedule.state_dict()
    _, fresh, other, _ = made(5)
    renew(fresh, options, other, 7)
    for group, wanted in zip(fresh.param_groups, expected[0], strict=True):
        assert {k: v for k, v in group.items() if k != "params"} == {
            k: v for k, v in wanted.items() if k != "params"
        }
    known = ("base_lrs", "last_epoch", "_last_lr")
    assert [other.state_dict()[k] for k in known] == [expected[1][k] for k in known]
    assert kind_of(whole.state_dict()) == "adamw" and kind_of(fresh.state_dict()) is None


def test_changes_names_what_both_know_and_shortens() -> None:
    run = {"model": {"lr": 1, "new": 2}, "data": {"size": [4, 4]}, "trainer": {"max_steps": 3}}
    stored = {"system": {"init_args": {"a": 1}}, "run": {**run, "ema": None}}
    now = {
        "system": {"init_args": {"a": 2}},
        "run": {"model": {"lr": 1}, "data": {"size": (4, 4)}, "trainer": {"max_steps": 9}},
    }
    assert changes(stored, now) == "model.system.init_args.a 2 (was 1)"
    many = {"run": {"model": {f"o{i}": i for i in range(20)}}}
    more = {"run": {"model": {f"o{i}": -i for i in range(20)}}}
    assert changes(many, more).endswith("model.o12 -12 (was 12) and 7 more")
