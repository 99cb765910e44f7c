"""DDP, FSDP2 and one process train the same; sharded checkpoints go everywhere.

One process trains on 2 ranks with DDP, on 2 with FSDP2, and resumes the latter on 4 (see
`distributed_run.py`); the tests compare what it wrote with runs in this process.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import distributed_run
import pytest
import torch
from distributed_run import SAVE_AT, STEPS, system
from forks import ended
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_artv.checkpoints import sharded as sharded_checkpoint
from lightning_artv.checkpoints.consolidate import consolidate
from lightning_artv.checkpoints.file import read_checkpoint, restore_weights
from lightning_artv.errors import UserError
from lightning_artv.training.fsdp import InStep

Run = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the distributed runs wrote."""
    out = tmp_path_factory.mktemp("distributed")
    done = ended(out / "log", distributed_run.main, out)
    assert done.code == 0, done.said[-4000:]
    return out


@pytest.fixture(scope="module")
def resumed_alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The sharded checkpoint, resumed in this process for two steps."""
    out, path = tmp_path_factory.mktemp("resumed"), folder / "sharded.ckpt"
    return distributed_run.run(out, resume=path, steps=SAVE_AT + 2)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same training in this process alone."""
    return distributed_run.run(tmp_path_factory.mktemp("one"))


def seen(folder: Path, name: str) -> Run:
    result: Run = torch.load(folder / f"{name}.pt", weights_only=True)
    return result


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_have_the_losses_of_one_process(folder: Path, one: Run, strategy: str) -> None:
    two = seen(folder, strategy)
    assert len(one["losses"]) == len(two["losses"]) == STEPS
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["norms"] == pytest.approx(one["norms"], abs=1e-5)
    assert max(one["norms"]) > 0.1, "no gradient was clipped"
    assert len(set(one["losses"])) == STEPS
    apart = torch.cat([(two["weights"][n] - w).abs().flatten() for n, w in one["weights"].items()])
    # Adam divides by the gradient's size: where that is rounding, a weight goes its own way, by
    # less than one step of lr 1e-3; some machines have a few such weights
    assert apart.max() < 1e-3 and (apart > 1e-4).float().mean() < 1e-3


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_loss_that_is_shown_is_over_all_ranks(folder: Path, strategy: str) -> None:
    two = seen(folder, strategy)
    assert two["shown"] == pytest.approx(two["losses"], abs=1e-6)


def test_the_run_trains(one: Run) -> None:
    """The tests above would pass if nothing were learned."""
    start = system().trainable_parameters()
    moved = [(one["weights"][n] - p.detach()).abs().max().item() for n, p in start.items()]
    assert max(moved) > 0.005


def test_shapes_are_uneven() -> None:
    """Shards of different sizes, and empty ones, are part of what is tested."""
    rows = [p.shape[0] for p in system().trainable_parameters().values()]
    assert any(n % 2 for n in rows) and any(n % 4 for n in rows) and 1 in rows


def test_sharded_ema_is_the_unsharded_one_bit_for_bit(folder: Path) -> None:
    two = seen(folder, "fsdp")
    assert two["ema"].keys() == two["reference"].keys() == two["weights"].keys()
    for name, average in two["reference"].items():
        assert torch.equal(two["ema"][name], average), name
        assert not torch.equal(average, two["weights"][name]) or average.numel() == 0, name


def test_validation_of_uneven_ranks_and_sample_logging_end(folder: Path) -> None:
    two = seen(folder, "fsdp")
    assert len(two["validation"]) == STEPS // SAVE_AT
    assert two["validation"][0] != two["validation"][1]
    events = EventAccumulator(str(folder / "fsdp"), size_guidance={"images": 0})
    events.Reload()
    assert [e.step for e in events.Images("samples/prompts")] == [SAVE_AT, STEPS]


def test_saved_on_two_ranks_resumes_on_one(folder: Path, resumed_alone: Run) -> None:
    expected = seen(folder, "fsdp")["losses"][SAVE_AT : SAVE_AT + 2]
    assert resumed_alone["losses"] == pytest.approx(expected, abs=1e-5)


def test_saved_on_two_ranks_resumes_on_four(folder: Path) -> None:
    expected = seen(folder, "fsdp")
    resumed = seen(folder, "resumed")
    losses = expected["losses"][SAVE_AT : SAVE_AT + 2]
    assert resumed["losses"] == pytest.approx(losses, abs=1e-5)


def test_the_average_goes_on_from_the_checkpoint(folder: Path, resumed_alone: Run) -> None:
    four, start = seen(folder, "resumed"), system().trainable_parameters()
    stored = read_checkpoint(folder / "sharded.ckpt")["ema"]["weights"]
    for name, average in four["ema"].items():
        torch.testing.assert_close(resumed_alone["ema"][name], average, atol=1e-5, rtol=0, msg=name)
    key = "denoiser.dynamic.unet.conv_in.weight"
    assert not torch.equal(stored[key], start[key])
    expected = torch.lerp(stored[key], four["weights"][key], 1 - distributed_run.DECAY**2)
    torch.testing.assert_close(four["ema"][key], expected, atol=1e-4, rtol=0)


def test_an_ordinary_checkpoint_resumes_under_fsdp2(folder: Path) -> None:
    expected = seen(folder, "fsdp")["losses"][SAVE_AT : SAVE_AT + 1]
    assert seen(folder, "from_file")["losses"] == pytest.approx(expected, abs=1e-5)


def test_all_ranks_are_told_that_one_cannot_write(folder: Path) -> None:
    """None waits for a rank that has ended."""
    told = seen(folder, "refused")["told"]
    assert len(told) == 2 and told[0] == told[1]
    assert "full.ckpt: No space left on device; free some space" in told[0]
    assert not list(folder.glob("*full.ckpt*"))


def test_the_folder_is_safetensors_and_one_plain_file(folder: Path) -> None:
    files = sorted(file.name for file in (folder / "sharded.ckpt").iterdir())
    assert files[0] == "meta.ckpt" and len(files) == 3
    assert all(name.endswith(".safetensors") for name in files[1:])
    assert not list(folder.glob(".*")), "a temporary folder was left"


def test_consolidated_it_is_an_ordinary_checkpoint(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    consolidate(folder / "sharded.ckpt", path)
    whole = torch.load(path, weights_only=True)
    shards = read_checkpoint(folder / "sharded.ckpt")
    assert whole.keys() == shards.keys()
    assert whole["global_step"] == SAVE_AT
    moments = whole["optimizer_states"][0]["state"]
    assert len(moments) == len(system().trainable_parameters())
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, shards["state_dict"][name])
    for kind in ("raw", "ema"):
        made = system()
        restore_weights(made, whole, kind, "one.ckpt")
        key = "denoiser.dynamic.unet.conv_in.weight"
        stored = whole["state_dict"][f"system.{key}"]
        expected = stored if kind == "raw" else whole["ema"]["weights"][key]
        assert torch.equal(made.trainable_parameters()[key], expected)


@pytest.mark.parametrize("damage", ["missing", "truncated", "meta", "absent"])
def test_a_damaged_folder_is_one_sentence(folder: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.ckpt"
    if damage != "absent":
        shutil.copytree(folder / "sharded.ckpt", path)
    shard = path / "shard-00001-model-00001-of-00001.safetensors"
    if damage == "missing":
        shard.unlink()
    elif damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif damage == "meta":
        (path / "meta.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"bad\.ckpt") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_a_kill_while_writing_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ckpt"
    sharded_checkpoint.write({"state_dict": {"x": torch.arange(3.0)}, "step": 1}, path)

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sharded_checkpoint, "_flush", killed)
    with pytest.raises(KeyboardInterrupt):
        sharded_checkpoint.write({"state_dict": {"x": torch.zeros(3)}, "step": 2}, path)
    assert sharded_checkpoint.read(path)["step"] == 1
    monkeypatch.undo()
    sharded_checkpoint.write({"state_dict": {"x": torch.ones(3)}, "step": 3}, path)
    read = sharded_checkpoint.read(path)
    assert read["step"] == 3
    assert torch.equal(read["state_dict"]["x"], torch.ones(3))
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


class _Alone:
    """Stands for a strategy of two ranks, of which the other has `other` batches."""

    root_device = torch.device("cpu")

    def __init__(self, other: int) -> None:
        self.other = other

    def reduce_boolean_decision(self, decision: bool) -> bool:
        self.other -= 1
        return decision and self.other >= 0

    def reduce(self, tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
        return tensor


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("mine", "other", "left"), [(3, 2, 4), (2, 3, 0), (2, 2, 0), (0, 1, 0)])
def test_evaluation_ends_with_the_shortest_rank(mine: int, other: int, left: int) -> None:
    batches = InStep([["sample"] * 4] * mine, _Alone(other))  # type: ignore[arg-type]
    assert len(list(batches)) == min(mine, other)
    assert batches.left_out == left
