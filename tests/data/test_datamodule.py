"""The datamodule: endless training batches, a fixed validation set, clear errors."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from videos import write_shards

from lightning_artv.batch import VideoBatch
from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.errors import DataError, UserError


class Recorder(LightningModule):
    """Writes down the keys that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[tuple[str, ...]] = []
        self.validated: list[tuple[str, ...]] = []

    def training_step(self, batch: VideoBatch) -> torch.Tensor:
        self.trained.append(batch.keys)
        return self.weight * batch.target.float().mean()

    def validation_step(self, batch: VideoBatch) -> None:
        self.validated.append(batch.keys)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(module: VideoDataModule, **options: int) -> Recorder:
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
    trainer.fit(recorder, module)
    return recorder


def test_training_is_endless_and_validation_complete_and_fixed(tmp_path: Path) -> None:
    expected = write_shards(tmp_path, videos=10, per_shard=5, frames=20)
    module = VideoDataModule(
        str(tmp_path), str(tmp_path), size=32, batch_size=4, val_batch_size=3, shuffle=5
    )
    recorder = fit(module, max_steps=9, val_check_interval=5)
    assert [len(keys) for keys in recorder.trained] == [4] * 9
    assert [len(keys) for keys in recorder.validated[:4]] == [3, 3, 3, 1]
    assert sorted(k for keys in recorder.validated[:4] for k in keys) == expected
    one, two = (list(module.val_dataloader()) for _ in range(2))
    assert all(torch.equal(a.target, b.target) for a, b in zip(one, two, strict=True))
    assert one[0].target.shape == (3, 3, 32, 32)


def test_validation_is_optional_and_workers_too(tmp_path: Path) -> None:
    write_shards(tmp_path, videos=4, per_shard=2)
    module = VideoDataModule(str(tmp_path), size=(32, 16), batch_size=2, num_workers=0)
    assert len(fit(module, max_steps=3).trained) == 3
    batch = next(itertools.islice(module.train_dataloader(), 1))
    assert batch.anchor.shape == (2, 3, 32, 16)


def test_test_and_prediction_read_the_validation_shards(tmp_path: Path) -> None:
    expected = write_shards(tmp_path, videos=3, per_shard=3)
    module = VideoDataModule("absent", str(tmp_path), size=32, num_workers=0)
    for loader in (module.test_dataloader(), module.predict_dataloader()):
        assert [k for batch in loader for k in batch.keys] == expected  # type: ignore[union-attr]


def test_missing_and_empty_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not exist"):
        VideoDataModule(str(tmp_path / "absent"), size=32).train_dataloader()
    with pytest.raises(DataError, match=r"holds no \.tar"):
        VideoDataModule(str(tmp_path), size=32).train_dataloader()


@pytest.mark.parametrize(
    "bad", [{"size": 0}, {"batch_size": 0}, {"num_workers": -1}, {"val_batch_size": 0}]
)
def test_impossible_options_are_user_errors(bad: dict[str, int]) -> None:
    with pytest.raises(UserError):
        VideoDataModule("shards", **bad)  # type: ignore[arg-type]
