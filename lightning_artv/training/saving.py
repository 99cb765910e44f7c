"""`last.ckpt` is the newest checkpoint in every way of saving."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_artv.checkpoints.replacing import link
from lightning_artv.training.run_folder import LAST


class RunCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, with a `last.ckpt` that is always the newest.

    It is renewed with every file that is saved, as a second name of the same bytes where the file
    system has such, and at the end of the training. It never becomes `last-v1.ckpt`. The files that
    it knows are found again where their folder was moved. `save_last: false` leaves it out, unless
    there is one.

    The command line makes one of every `ModelCheckpoint` that is configured.
    """

    @classmethod
    def of(cls, callback: Callback) -> None:
        """Make a `ModelCheckpoint` one of these, in place."""
        if type(callback) is ModelCheckpoint:
            callback.__class__ = cls

    @property
    def state_key(self) -> str:
        """Lightning's name in a checkpoint, so that either's resumes with the other."""
        name = ModelCheckpoint.__qualname__
        return super().state_key.replace(type(self).__qualname__, name, 1)

    @property
    def last(self) -> Path:
        """Where `last.ckpt` is or will be; after `setup`."""
        assert self.dirpath is not None
        return Path(self.dirpath) / LAST

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._last_global_step_saved = trainer.global_step  # a resumed run's step is saved already

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves the last step of a run too, here, where its epoch does not yet count as ended."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        stopping = trainer.should_stop and trainer.fit_loop._can_stop_early
        if stopping or 0 <= trainer.max_steps <= trainer.global_step:
            self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the last step, unless that is done."""
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _save_last_checkpoint(
        self, trainer: Trainer, monitor_candidates: dict[str, Tensor]
    ) -> None:
        if self.save_last is False and not self.file_exists(self.last, trainer):
            return
        self.last_model_path = str(self.last)
        saved = self._last_checkpoint_saved
        if saved and self._last_global_step_saved == trainer.global_step:
            here = trainer.is_global_zero
            done = saved == self.last_model_path or (here and link(Path(saved), self.last))
            if trainer.strategy.broadcast(done):
                return
        self._save_checkpoint(trainer, self.last_model_path)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(moved(state_dict, str(self.dirpath)))


def moved(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """A `RunCheckpoint`'s state whose files are in `folder` now, as far as they are there."""
    old = state.get("dirpath")
    if old is None or old == folder:
        return state

    def here(path: str) -> str:
        file = Path(folder) / Path(path).name
        return str(file) if path and Path(path).parent == Path(old) and file.exists() else ""

    best = {here(path): score for path, score in state["best_k_models"].items() if here(path)}
    paths = {name: here(state[name]) for name in ("kth_best_model_path", "last_model_path")}
    best_path = here(state["best_model_path"]) or state["best_model_path"]
    return {**state, **paths, "best_model_path": best_path, "best_k_models": best} | {
        "dirpath": folder
    }


def keep_states(states: MutableMapping[str, Any], callbacks: Iterable[Callback]) -> None:
    """Let a checkpoint's states of `RunCheckpoint`s be found where they save at other times now.

    Their keys hold when they save; without its state, one would take its own files for a
    stranger's and write `name-v1.ckpt` beside them.
    """
    savers = [c for c in callbacks if isinstance(c, RunCheckpoint) and c.state_key not in states]
    known = {callback.state_key for callback in callbacks}
    for saver in savers:
        same = [
            key
            for key, state in states.items()
            if key.startswith(ModelCheckpoint.__qualname__ + "{")
            and key not in known
            and state["monitor"] == saver.monitor
        ]
        if len(same) == 1:
            states[saver.state_key] = states.pop(same[0])
