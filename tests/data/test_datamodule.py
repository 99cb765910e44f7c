"""The datamodule: endless training batches, a fixed validation set, clear errors."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from videos import write_shards

from lightning_artv.batch import VideoBatch
from lightning_artv.data import shards
from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.data.shards import ClipSettings, Sample, ShardDataset, decode_example
from lightning_artv.data.tar import RawSample
from lightning_artv.errors import DataError, UserError
from lightning_artv.systems.artv.windows import NextFrame


class Recorder(LightningModule):
    """Writes down the keys that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[tuple[str, ...]] = []
        self.validated: list[tuple[str, ...]] = []

    def training_step(self, batch: VideoBatch) -> torch.Tensor:
        self.trained.append(batch.keys)
        return self.weight * batch.frames.float().mean()

    def validation_step(self, batch: VideoBatch) -> None:
        self.validated.append(batch.keys)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(
    module: VideoDataModule, save: Path | None = None, resume: Path | None = None, **options: int
) -> Recorder:
    recorder = Recorder()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,  # type: ignore[arg-type]
    )
    trainer.fit(recorder, module, ckpt_path=resume, weights_only=True)
    if save is not None:
        trainer.save_checkpoint(save)
    return recorder


def data(folder: Path, **options: int) -> VideoDataModule:
    settings: dict[str, int] = {"size": 32, "batch_size": 3, "num_workers": 0, "shuffle": 5}
    settings |= options
    return VideoDataModule(str(folder), windows=NextFrame(), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_goes_on_within_the_pass(tmp_path: Path, workers: int) -> None:
    """Batches that Lightning and the workers had read ahead are neither lost nor repeated."""
    folder, half = tmp_path / "shards", tmp_path / "half.ckpt"
    expected = write_shards(folder, videos=10, per_shard=4)
    whole = fit(data(folder), max_steps=9).trained
    seen = [key for keys in whole for key in keys]
    assert sorted(seen[:10]) == sorted(seen[10:20]) == expected
    start = fit(data(folder, num_workers=workers), save=half, max_steps=4).trained
    rest = fit(data(folder, num_workers=workers), resume=half, max_steps=9).trained
    assert start + rest == whole


def test_a_resume_decodes_only_what_it_trains_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "shards", videos=60, per_shard=20)
    half, decoded = tmp_path / "half.ckpt", list[str]()

    def counted(raw: RawSample, *rest: Any) -> Sample | None:
        decoded.append(raw.key)
        return decode_example(raw, *rest)

    monkeypatch.setattr(shards, "decode_example", counted)
    fit(data(tmp_path / "shards"), save=half, max_steps=15)
    assert len(decoded) == 16 * 3  # and the batch that Lightning reads ahead
    decoded.clear()
    trained = fit(data(tmp_path / "shards"), resume=half, max_steps=16).trained
    assert len(trained) == 1 and decoded[:3] == list(trained[0]) and len(decoded) == 2 * 3


def test_a_checkpoint_within_a_step_is_of_its_start(tmp_path: Path) -> None:
    """Accumulated gradients are not stored, so the step's micro-batches come again."""
    folder, half = tmp_path / "shards", tmp_path / "half.ckpt"
    write_shards(folder, videos=10, per_shard=4)
    whole = fit(data(folder), max_steps=3, accumulate_grad_batches=3).trained

    class Saving(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            if trainer.fit_loop.total_batch_idx == 4:  # the second of the second step
                trainer.save_checkpoint(half)

    fit(data(folder), max_steps=3, accumulate_grad_batches=3, callbacks=[Saving()])  # type: ignore
    stored = torch.load(half, weights_only=True)["VideoDataModule"]
    assert stored["position"]["taken"] == (9,)
    rest = fit(data(folder), resume=half, max_steps=3, accumulate_grad_batches=3)
    assert whole[3:6] == rest.trained[:3]


def test_an_epoch_of_lightning_goes_on_in_the_stream(tmp_path: Path) -> None:
    write_shards(tmp_path, videos=10, per_shard=4)
    whole = fit(data(tmp_path), max_steps=8).trained
    assert fit(data(tmp_path), max_epochs=4, limit_train_batches=2).trained == whole


@pytest.mark.parametrize("change", ["data", "seed", "shuffle"])
def test_other_data_than_the_checkpoints_begins_a_new_pass_and_says_so(
    tmp_path: Path, change: str
) -> None:
    folder, half = tmp_path / "shards", tmp_path / "half.ckpt"
    expected = write_shards(folder, videos=10, per_shard=5)
    fit(data(folder), save=half, max_steps=4)
    changed = data(folder, **({} if change == "data" else {change: 3}))
    if change == "data":
        video = next(
            iter(ShardDataset(folder, ClipSettings(NextFrame(), (32, 32))))
        )  # still readable
        assert video.key in expected
        (folder / "00001.tar").rename(folder / "00003.tar")
    with pytest.warns(UserWarning, match="a new pass over the data begins"):
        trained = fit(changed, resume=half, max_steps=8).trained
    keys = [key for batch in trained for key in batch]
    assert len(keys) == 12 and sorted(keys[:10]) == expected


def test_validation_needs_no_training_data_and_leaves_the_position_alone(tmp_path: Path) -> None:
    write_shards(tmp_path, videos=5, per_shard=5)
    module = VideoDataModule(
        "absent", str(tmp_path), 32, windows=NextFrame(), batch_size=2, num_workers=0
    )
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.validate(Recorder(), module, verbose=False)
    assert module.state_dict() == {}


def test_training_is_endless_and_validation_complete_and_fixed(tmp_path: Path) -> None:
    expected = write_shards(tmp_path, videos=10, per_shard=5, frames=20)
    module = VideoDataModule(
        str(tmp_path),
        str(tmp_path),
        size=32,
        windows=NextFrame(),
        batch_size=4,
        val_batch_size=3,
        shuffle=5,
    )
    recorder = fit(module, max_steps=9, val_check_interval=5)
    assert [len(keys) for keys in recorder.trained] == [4] * 9
    assert [len(keys) for keys in recorder.validated[:4]] == [3, 3, 3, 1]
    assert sorted(k for keys in recorder.validated[:4] for k in keys) == expected
    one, two = (list(module.val_dataloader()) for _ in range(2))
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(one, two, strict=True))
    assert one[0].frames.shape == (3, 4, 3, 32, 32)


def test_validation_is_optional_and_workers_too(tmp_path: Path) -> None:
    write_shards(tmp_path, videos=4, per_shard=2)
    module = VideoDataModule(
        str(tmp_path), size=(32, 16), windows=NextFrame(), batch_size=2, num_workers=0
    )
    assert len(fit(module, max_steps=3).trained) == 3
    batch = next(itertools.islice(module.train_dataloader(), 1))
    assert batch.frames.shape == (2, 4, 3, 32, 16)


def test_test_and_prediction_read_the_validation_shards(tmp_path: Path) -> None:
    expected = write_shards(tmp_path, videos=3, per_shard=3)
    module = VideoDataModule("absent", str(tmp_path), 32, windows=NextFrame(), num_workers=0)
    for loader in (module.test_dataloader(), module.predict_dataloader()):
        assert [k for batch in loader for k in batch.keys] == expected  # type: ignore[union-attr]


def test_missing_and_empty_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not exist"):
        VideoDataModule(str(tmp_path / "absent"), size=32, windows=NextFrame()).train_dataloader()
    with pytest.raises(DataError, match=r"holds no \.tar"):
        VideoDataModule(str(tmp_path), size=32, windows=NextFrame()).train_dataloader()


@pytest.mark.parametrize(
    "bad", [{"size": 0}, {"batch_size": 0}, {"num_workers": -1}, {"val_batch_size": 0}]
)
def test_impossible_options_are_user_errors(bad: dict[str, int]) -> None:
    with pytest.raises(UserError):
        VideoDataModule("shards", **bad)  # type: ignore[arg-type]
