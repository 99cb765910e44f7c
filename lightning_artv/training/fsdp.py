"""FSDP2 as a Lightning strategy, with sharded checkpoints that contain no pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from lightning_artv.checkpoints import sharded as sharded_checkpoint
from lightning_artv.checkpoints.earlier import weight_names
from lightning_artv.checkpoints.file import EMA_KEY, PREFIX, read_checkpoint
from lightning_artv.checkpoints.sharding import sharded_like
from lightning_artv.systems.base import Trainable
from lightning_artv.training.run_folder import newest_named

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's tensors, which are sharded as their parameter is."""


class FSDP2(ModelParallelStrategy):
    """Fully sharded data parallelism over all ranks; `VideoModule.configure_model` shards.

    A checkpoint is a folder (`training.sharded_checkpoint`) that resumes on any number of ranks,
    with this strategy or another; this strategy also resumes from an ordinary checkpoint file.

    Args:
        timeout: minutes that one collective call may take.
    """

    def __init__(self, timeout: float = 30.0) -> None:
        super().__init__(tensor_parallel_size=1, timeout=timedelta(minutes=timeout))

    def setup_environment(self) -> None:
        """All ranks shard together."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    # the optimiser's and the model's state are ordinary state dicts of sharded tensors

    lightning_restore_optimizer = True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return Strategy.lightning_module_state_dict(self)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        Strategy.load_model_state_dict(self, checkpoint, strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return Strategy.optimizer_state(self, optimizer)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        Strategy.load_optimizer_state_dict(self, checkpoint)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: _PATH, storage_options: Any | None = None
    ) -> None:
        """Write a folder; it has its name only when every rank is done."""
        path = Path(self.broadcast(str(filepath)))
        with newest_named(path.parent):
            sharded_checkpoint.write(checkpoint, path)

    def load_checkpoint(
        self, checkpoint_path: _PATH, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """A folder or a file; each rank keeps its own part of it.

        Raises:
            UserError: no such checkpoint, or a damaged one.
        """
        path = Path(self.broadcast(str(checkpoint_path)))
        assert self.lightning_module is not None
        system = self.lightning_module.system
        assert isinstance(system, Trainable)
        state = {
            f"{PREFIX}{earlier}": tensor
            for name, tensor in self.lightning_module.state_dict().items()
            for earlier in weight_names(system, name.removeprefix(PREFIX))
        }
        live = live_tensors(state, self.optimizers)
        if sharded_checkpoint.is_sharded(path):
            return sharded_checkpoint.read(path, live.get, optimizer=bool(self.optimizers))
        checkpoint = read_checkpoint(path)
        for key in sharded_checkpoint.SHARDED_KEYS:
            whole: dict[str, Tensor] = {}
            tree = sharded_checkpoint.split(checkpoint.get(key), key, whole)
            cut = {name: sharded_like(tensor, live.get(name)) for name, tensor in whole.items()}
            checkpoint[key] = sharded_checkpoint.join(tree, cut)
        return checkpoint

    def process_dataloader(self, dataloader: object) -> object:
        """Evaluation ends on all ranks together: a rank without a batch would leave the others
        waiting for its part of the weights.
        """
        assert self.lightning_module is not None
        training = self.lightning_module.trainer.training
        return dataloader if training else InStep(dataloader, self)


def live_tensors(state: Mapping[str, Tensor], optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Path in a checkpoint -> the live tensor that is sharded as the stored one shall be.

    Args:
        state: the module's state dict.
        optimizers: those whose state is to be restored.
    """
    live = {f"state_dict/{name}": tensor for name, tensor in state.items()}
    live |= {f"{EMA_KEY}/weights/{n.removeprefix('system.')}": t for n, t in state.items()}
    for number, optimizer in enumerate(optimizers):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for index, parameter in enumerate(parameters):
            path = f"optimizer_states/{number}/state/{index}"
            live |= {f"{path}/{moment}": parameter for moment in MOMENTS}
    return live


class InStep:
    """A loader that ends on all ranks when it ends on one; what is left out is counted and said.

    Args:
        loader: this rank's batches.
        strategy: where the ranks agree.
    """

    def __init__(self, loader: Any, strategy: FSDP2) -> None:
        self.loader = loader
        self.strategy = strategy
        self.left_out = 0
        """Samples that ranks had already read when another rank ended."""

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while True:
            batch = next(batches, None)
            if not self.strategy.reduce_boolean_decision(batch is not None):
                return self._end(0 if batch is None else len(batch))
            yield batch

    def _end(self, samples: int) -> None:
        device = self.strategy.root_device
        total = self.strategy.reduce(torch.tensor(samples, device=device), reduce_op="sum")
        self.left_out = int(total)
        if self.left_out:
            rank_zero_warn(
                f"{self.left_out} or more samples were left out of an evaluation: the ranks end "
                "together; give them validation shards that divide evenly."
            )
