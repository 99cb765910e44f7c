"""The only LightningDataModule: shards in, `VideoBatch`es out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from lightning_artv.batch import VideoBatch
from lightning_artv.data.decode import square
from lightning_artv.data.shards import ClipSettings, ShardDataset, collate
from lightning_artv.errors import UserError

Paths = str | list[str]


class VideoDataModule(LightningDataModule):
    """Training, validation and prediction data from WebDataset shards.

    Training is an endless, shuffled stream (bound it with `--trainer.max_steps`); validation runs
    over each sample once, in a fixed order and with fixed frames. Test and prediction use the
    validation shards.

    Args:
        train: folder, brace pattern or list of shards to train on.
        val: the same for validation, or None for none.
        size: height and width in pixels; one number for squares.
        fps: frames per second at which clips are read; null for every frame of the source.
        anchor_window: the anchor is drawn from this many frames before the target (paper Sec. 3.4).
        start_probability: how often a training target follows the clip's (supposed) first frame.
        targets_per_window: training targets that share one window of frames, so that fewer frames
            are encoded a target (K targets cost K + 3 frames, not 4 K).
        batch_size: targets per process and step; divisible by targets_per_window.
        val_batch_size: null for `batch_size`.
        num_workers: loader processes; 0 loads in the training process.
        shuffle: samples that each worker holds back to shuffle among, decoded: 12 * H * W bytes
            each.
        seed: of the order and of the frames chosen.
        max_corrupt_share: more unreadable samples than this share stop the run.

    Raises:
        UserError: a missing or remote path, or an impossible size.
        DataError: no shards there.
    """

    def __init__(
        self,
        train: Paths,
        val: Paths | None = None,
        size: int | tuple[int, int] = 320,
        fps: float | None = 8.0,
        anchor_window: int = 10,
        start_probability: float = 0.1,
        targets_per_window: int = 1,
        batch_size: int = 32,
        val_batch_size: int | None = None,
        num_workers: int = 1,
        shuffle: int = 1000,
        seed: int = 0,
        max_corrupt_share: float = 0.1,
    ) -> None:
        super().__init__()
        if batch_size < 1 or (val_batch_size is not None and val_batch_size < 1):
            raise UserError("data.batch_size and data.val_batch_size must be at least 1.")
        if targets_per_window < 1 or batch_size % targets_per_window:
            raise UserError(
                f"data.batch_size {batch_size} is not divisible by data.targets_per_window "
                f"{targets_per_window}: choose numbers that are."
            )
        if num_workers < 0 or shuffle < 0:
            raise UserError("data.num_workers and data.shuffle must not be negative.")
        self.clips = ClipSettings(square(size), fps, anchor_window, start_probability)
        self.targets_per_window = targets_per_window
        self.train_shards = train
        self.val_shards = val
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size or batch_size
        self.num_workers = num_workers
        self.shuffle = shuffle
        self.seed = seed
        self.max_corrupt_share = max_corrupt_share

    def train_dataloader(self) -> DataLoader[VideoBatch]:
        """Endless stream of full batches."""
        clips = replace(self.clips, targets_per_window=self.targets_per_window)
        dataset = self._dataset(self.train_shards, clips, self.shuffle, epochs=None)
        return self._loader(dataset, self.batch_size // self.targets_per_window, drop_last=True)

    def val_dataloader(self) -> DataLoader[VideoBatch] | list[DataLoader[VideoBatch]]:
        """Each validation sample once, always the same; no loader where no validation shards are
        configured.
        """
        if self.val_shards is None:
            return []
        dataset = self._dataset(self.val_shards, self.clips, shuffle=0, epochs=1)
        return self._loader(dataset, self.val_batch_size, drop_last=False)

    def test_dataloader(self) -> DataLoader[VideoBatch] | list[DataLoader[VideoBatch]]:
        """The validation data."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[VideoBatch] | list[DataLoader[VideoBatch]]:
        """The validation data."""
        return self.val_dataloader()

    def _dataset(
        self, shards: str | Sequence[str], clips: ClipSettings, shuffle: int, epochs: int | None
    ) -> ShardDataset:
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return ShardDataset(
            list(shards) if not isinstance(shards, str) else shards,
            clips,
            shuffle=shuffle,
            seed=self.seed,
            epochs=epochs,
            rank=rank,
            world_size=world_size,
            max_corrupt_share=self.max_corrupt_share,
        )

    def _loader(
        self, dataset: ShardDataset, batch_size: int, drop_last: bool
    ) -> DataLoader[VideoBatch]:
        return DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_size=batch_size,
            num_workers=self.num_workers,
            collate_fn=collate,
            drop_last=drop_last,
            persistent_workers=self.num_workers > 0,
        )
