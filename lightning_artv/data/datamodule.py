"""The only LightningDataModule: shards in, `VideoBatch`es out."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from lightning import LightningDataModule

from lightning_artv.batch import VideoBatch
from lightning_artv.data.decode import square
from lightning_artv.data.index import open_index
from lightning_artv.data.mix import Shards, WeightedSet, sets_of
from lightning_artv.data.position import Position
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.stream import BatchStream
from lightning_artv.data.tar import expand
from lightning_artv.data.together import Together
from lightning_artv.data.windows import Windows
from lightning_artv.errors import UserError

Paths = str | list[str]
Evaluation = BatchStream | Together | list[BatchStream]


class VideoDataModule(LightningDataModule):
    """Training, validation and prediction data from WebDataset shards.

    Training is an endless, shuffled stream (bound it with `--trainer.max_steps`, or with
    `--trainer.max_epochs`, which counts passes): pass after pass over the data, each sample once a
    pass over all ranks and workers. Its position is part of each checkpoint, so a resumed run goes
    on within the pass: with the same batches on as many ranks, whatever the number of workers; with
    what is left, each once, on another number. Validation runs over each sample once, over any
    number of ranks, in a fixed order and with fixed frames. Test and prediction use the validation
    shards.

    Args:
        train: folder, brace pattern or list of shards to train on; or a list of sets with weights,
            `[{path: a, weight: 2}, {path: b, weight: 0.5}]`: a pass holds each sample of the first
            twice and half of the second's.
        val: folder, brace pattern or list for validation, or None for none.
        size: height and width in pixels; one number for squares.
        fps: frames per second at which clips are read; null for every frame of the source.
        windows: which frames of a clip make training examples; null for the system's own rule with
            its defaults.
        batch_size: targets per process and step; divisible by the targets of a window.
        val_batch_size: null for `batch_size`.
        num_workers: loader processes; 0 loads in the training process.
        shuffle: how many places a sample may move in the row of the shuffled shards; costs no
            memory, but reading is the less sequential the larger it is.
        seed: seed of the order and of the frames chosen.
        max_corrupt_share: more unreadable samples than this share stop the run.
        need_captions: shards without any caption stop the run; false to train without text.

    Raises:
        UserError: a missing or remote path, an impossible size or weight.
        DataError: no shards there.
    """

    def __init__(
        self,
        train: str | list[str | WeightedSet],
        val: Paths | None = None,
        size: int | tuple[int, int] = 320,
        fps: float | None = 8.0,
        windows: Windows | None = None,
        batch_size: int = 32,
        val_batch_size: int | None = None,
        num_workers: int = 1,
        shuffle: int = 1000,
        seed: int = 0,
        max_corrupt_share: float = 0.1,
        need_captions: bool = True,
    ) -> None:
        super().__init__()
        if batch_size < 1 or (val_batch_size is not None and val_batch_size < 1):
            raise UserError("data.batch_size and data.val_batch_size must be at least 1.")
        if num_workers < 0 or shuffle < 0:
            raise UserError("data.num_workers and data.shuffle must not be negative.")
        self.size = square(size)
        sets_of(train)  # refuses impossible weights at once
        self.fps = fps
        self.windows: Windows | None = None
        self.train_shards = train
        self.val_shards = val
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size or batch_size
        self.num_workers = num_workers
        self.shuffle = shuffle
        self.seed = seed
        self.max_corrupt_share = max_corrupt_share
        self.need_captions = need_captions
        self._train: ShardDataset | None = None
        self._position = Position()
        self._taken = 0  # of this rank's stream by the batches trained on so far, ...
        self._step_began = 0  # ... and before the first micro-batch of the last step begun
        self._step = -1
        self._loaded: dict[str, Any] | None = None
        if windows is not None:
            self.use(windows)

    def use(self, windows: Windows) -> None:
        """Read these windows.

        Raises:
            UserError: the batch does not hold whole windows.
        """
        if self.batch_size % windows.targets:
            raise UserError(
                f"data.batch_size {self.batch_size} is not divisible by the {windows.targets} "
                "targets of a window (data.windows): choose numbers that are."
            )
        self.windows = windows

    def prepare_data(self) -> None:
        """Index large training sets once per machine, before every process asks for it."""
        if self.trainer is not None and self.trainer.state.fn == "fit":
            sets = sets_of(self.train_shards)
            for shards in [self.train_shards] if sets is None else [item.path for item in sets]:
                open_index(expand(shards))  # type: ignore[arg-type]

    def train_dataloader(self) -> BatchStream:
        """Endless stream of full batches, from the checkpoint's position on."""
        return BatchStream(
            self._training_set(),
            self._windows_a_batch(),
            self.num_workers,
            self._ranks()[0],
            self._begin,
            endless=True,
        )

    def batches_a_pass(self) -> int:
        """Batches of each rank in a pass over the training data; the last one need not be full."""
        return math.ceil(len(self._training_set()) / (self._windows_a_batch() * self._ranks()[1]))

    def val_dataloader(self) -> Evaluation:
        """Each validation sample once, always the same; no loader where no validation shards are
        configured. All ranks get as many batches, see `Together`.
        """
        stream = self.predict_dataloader()
        if self._ranks()[1] == 1 or not isinstance(stream, BatchStream):
            return stream
        assert self.trainer is not None
        return Together(stream, partial(self.trainer.strategy.reduce_boolean_decision, all=False))

    def test_dataloader(self) -> Evaluation:
        """The validation data."""
        return self.val_dataloader()

    def predict_dataloader(self) -> BatchStream | list[BatchStream]:
        """The validation data; each rank has its part alone."""
        if self.val_shards is None:
            return []
        dataset = self._dataset(self.val_shards, self._rule().for_evaluation(), shuffle=0)
        rank, ranks = self._ranks()
        begin = partial(Position, (0,) * ranks)
        size = self.val_batch_size
        return BatchStream(dataset, size, self.num_workers, rank, begin, endless=False)

    def on_after_batch_transfer(self, batch: VideoBatch, dataloader_idx: int) -> VideoBatch:
        """Notes the position of a batch that training is about to use."""
        if self.trainer is not None and self.trainer.training and batch.position is not None:
            if self.trainer.global_step != self._step:
                self._step, self._step_began = self.trainer.global_step, self._taken
            self._taken = batch.position
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The position after the last whole optimiser step; every rank must ask."""
        if self._train is None or self.trainer is None:
            return {}
        whole = self.trainer.global_step != self._step
        every = [self._taken if whole else self._step_began]
        if self.trainer.world_size > 1:
            taken, every = every[0], [0] * self.trainer.world_size
            torch.distributed.all_gather_object(every, taken)
        position = replace(self._position, taken=tuple(every))
        return {"position": asdict(position), "samples": len(self._train), "order": self._order()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Training will begin at a checkpoint's position."""
        self._loaded = state_dict

    def _begin(self) -> Position:
        """Where the training stream goes on: after what this run, or the loaded one, trained on."""
        rank, ranks = self._ranks()
        if self._loaded is not None:
            self._position = self._resumed(self._loaded).divided(ranks)
            self._taken = self._step_began = self._position.taken[rank]
            self._loaded = None
        position = self._position.divided(ranks)
        taken = tuple(self._taken if r == rank else t for r, t in enumerate(position.taken))
        self._position = replace(position, taken=taken)
        return self._position

    def _resumed(self, state: dict[str, Any]) -> Position:
        """The position that `state_dict` gave, or the next pass's start where the order changed."""
        assert self._train is not None
        position = Position(**state["position"])
        if state["order"] == self._order():
            return position
        warnings.warn(
            "The training data, data.seed or data.shuffle are not those of the checkpoint: a new "
            "pass over the data begins.",
            stacklevel=2,
        )
        passes = position.at(0, max(position.taken)) // state["samples"] + 1
        return Position(start=passes * len(self._train))

    def _order(self) -> list[str | int]:
        """What the order of the samples depends on."""
        assert self._train is not None
        return [self._train.identity, self.seed, self.shuffle]

    def _ranks(self) -> tuple[int, int]:
        """This process's rank, and how many there are."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _training_set(self) -> ShardDataset:
        if self._train is None:
            self._train = self._dataset(self.train_shards, self._rule(), self.shuffle)
        return self._train

    def _rule(self) -> Windows:
        if self.windows is None:
            raise UserError("data.windows is missing: name a class that chooses the frames.")
        return self.windows

    def _windows_a_batch(self) -> int:
        return self.batch_size // self._rule().targets

    def _dataset(self, shards: Shards, windows: Windows, shuffle: int) -> ShardDataset:
        clips = ClipSettings(windows, self.size, self.fps)
        return ShardDataset(
            shards, clips, shuffle, self.seed, self.max_corrupt_share, self.need_captions
        )
