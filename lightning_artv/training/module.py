"""The only LightningModule: it trains any `Trainable` and knows nothing of how one works."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from lightning_artv.batch import VideoBatch
from lightning_artv.checkpoints.earlier import rename_weights
from lightning_artv.checkpoints.file import CONFIG_KEY, PREFIX
from lightning_artv.checkpoints.sharding import shard
from lightning_artv.checkpoints.weights import check_weights, trainable_state
from lightning_artv.diffusion.noise import generators_for, names_of
from lightning_artv.errors import UserError
from lightning_artv.speed.blocks import compile_blocks, recompute_activations
from lightning_artv.systems.base import Generative, Segment, Trainable
from lightning_artv.training import optim, resume
from lightning_artv.training.bounds import bound_by_passes, check_numbers, fill_global_batch
from lightning_artv.training.guards import StepGuard
from lightning_artv.training.optim import Decay, OptimizerName
from lightning_artv.training.saving import keep_states
from lightning_artv.training.signals import StopOnSignal
from lightning_artv.training.windows import choose_windows


class VideoModule(LightningModule):
    """Training, validation and prediction of a system (paper Sec. 4).

    A sample's randomness in training is a hash of (seed, global step, the sample's key), so it
    depends neither on the rank nor on the batch mates; in validation it is a hash of (seed, key)
    alone, so every validation sees the same noise and timesteps. What networks draw themselves
    (dropout) follows from (seed, global step, micro-batch, rank). So a resumed run needs no stored
    random state.

    Args:
        system: what is trained.
        lr: learning rate, constant after the warm-up (paper Sec. 4).
        weight_decay: of AdamW, on everything but norms, biases and embeddings.
        betas: betas of AdamW.
        warmup_steps: optimiser steps over which lr rises linearly from lr / warmup_steps; 0 for
            none.
        lr_decay: `cosine` lowers lr to 0 at `trainer.max_steps`, along half a cosine; a short
            training from random weights ends better with it.
        seed: seed of the noise, timesteps and dropped conditions.
        predict_frames: frames of the clips that `lightning predict` makes, the first one included.
        global_batch_size: samples an optimiser step over all devices; `trainer.
            accumulate_grad_batches` follows from it. None leaves that to the trainer.
        optimizer: `adamw`, or `adamw8bit` (bitsandbytes), whose moments take a quarter of the
            memory.
        gradient_checkpointing: recompute the U-Nets' activations instead of keeping them.
        compile: compile the U-Nets' blocks.
        init_from: a checkpoint or an exported folder whose weights a new run starts with, as far as
            it has them; a run that is resumed does not read it.

    Raises:
        UserError: a number outside its range.
    """

    def __init__(
        self,
        system: Trainable,
        lr: float = 1e-5,
        weight_decay: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        warmup_steps: int = 0,
        lr_decay: Decay = "none",
        seed: int = 0,
        predict_frames: int = 16,
        global_batch_size: int | None = None,
        optimizer: OptimizerName = "adamw",
        gradient_checkpointing: bool = False,
        compile: bool = False,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        check_numbers(lr, weight_decay, betas, warmup_steps, predict_frames)
        self.system = system
        self.lr = lr
        self.weight_decay = weight_decay
        self.betas = (betas[0], betas[1])
        self.warmup_steps = warmup_steps
        self.lr_decay = lr_decay
        self.seed = seed
        self.predict_frames = predict_frames
        self.global_batch_size = global_batch_size
        self.optimizer_name = optimizer
        self.compile_blocks = compile
        self.init_from = init_from
        if gradient_checkpointing:
            recompute_activations(system)
        self._begin()
        # Frozen weights are not stored; `on_load_checkpoint` checks the others.
        self.strict_loading = False

    def _begin(self) -> None:
        """What is known before the first step."""
        self.embedded_config: dict[str, Any] | None = None
        """What `checkpoint.embedded_config` made of the run's config; the command line sets it."""
        self.last_losses: tuple[tuple[str, ...], Tensor] = ((), torch.empty(0))
        """Keys and losses `[B]` of the last batch trained on, for `StepGuard`."""
        self.step_loss = torch.full((), torch.nan)
        """The last optimiser step's loss: a mean over its micro-batches and all ranks."""
        self._start: str | UserError | None = None  # what came of `init_from`
        self._losses: list[Tensor] = []  # of the step's micro-batches
        self._options: list[dict[str, Any]] = []  # of the optimiser's groups, as configured
        self._step = -1  # the optimiser step that the last batch belongs to
        self._micro_batches = 0  # its batches so far
        self._carried: dict[str, Any] = {}  # what the system carried into it

    def setup(self, stage: str) -> None:
        """Sets what a fit needs to know of its devices and data, and where its weights start.

        Raises:
            UserError: the global batch does not divide, or windows of another system.
        """
        choose_windows(getattr(self.trainer, "datamodule", None), self.system)
        if stage != "fit":
            return
        fill_global_batch(self.trainer, self.global_batch_size)
        bound_by_passes(self.trainer)
        if self.init_from is not None:
            self._start = resume.started(self.system, self.init_from)

    def configure_model(self) -> None:
        """Shards the system under FSDP2 and compiles it; Lightning calls this on every device."""
        if self.compile_blocks:
            compile_blocks(self.system)
        if self.device_mesh is not None:
            mixed = self.trainer.precision == "bf16-mixed"
            mesh = self.device_mesh["data_parallel"]
            shard(self.system, mesh, torch.bfloat16 if mixed else torch.float32)

    def on_fit_start(self) -> None:
        """Says what the weights start from.

        Raises:
            UserError: see `pipelines.loading.start_from`.
        """
        if isinstance(self._start, UserError):
            raise self._start
        if self._start is not None:
            rank_zero_info(self._start)

    def on_train_start(self) -> None:
        """Trains with the configured options, whatever a checkpoint brought back."""
        scheduler = self.lr_schedulers()
        assert scheduler is None or isinstance(scheduler, LambdaLR)
        if self._options:
            optim.renew(self.trainer.optimizers[0], self._options, scheduler, self.global_step)

    def configure_callbacks(self) -> list[Callback]:
        """What every fit has: `StepGuard` (unless configured) and `StopOnSignal`."""
        configured: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        return [
            kind()
            for kind in (StepGuard, StopOnSignal)
            if not any(isinstance(callback, kind) for callback in configured)
        ]

    def on_train_batch_start(self, batch: VideoBatch, batch_idx: int) -> None:
        """Counts a step's micro-batches and seeds torch's generator, for networks that use it."""
        if self.global_step != self._step:
            self._step, self._micro_batches = self.global_step, 0
            self._carried = self.system.carried()
            self._losses = []
            # the loggers' step, which Lightning restores one off from some checkpoints
            self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.global_step
        place = f"{self._step}:{self._micro_batches}:{self.global_rank}"
        torch.manual_seed(generators_for(self.seed, [f"global:{place}"])[0].initial_seed())
        self._micro_batches += 1

    def training_step(self, batch: VideoBatch, batch_idx: int) -> dict[str, Any]:
        """The loss of one batch, and what callbacks show of it."""
        keys = batch.each_target(batch.keys)
        output = self.system.loss(
            batch, generators_for(self.seed, names_of(keys, self.global_step))
        )
        self.last_losses = (keys if output.keys is None else output.keys, output.per_sample)
        self._losses.append(output.loss.detach())
        return {
            "loss": output.loss,
            "per_sample": output.per_sample,
            "level": output.level,
            "scalars": dict(output.scalars),
        }

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Logs `val/loss` with fixed noise and timesteps."""
        self._evaluate(batch, "val/loss")

    def test_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Logs `test/loss` with fixed noise and timesteps."""
        self._evaluate(batch, "test/loss")

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """Clips that begin with the batch's given frames, uint8 `[B, T, 3, H, W]`.

        Raises:
            UserError: a part of a system, which makes no videos alone.
        """
        if not isinstance(self.system, Generative):
            raise UserError(f"{type(self.system).__name__} makes no videos alone to predict.")
        frames = self.system.generate(
            [Segment(batch.captions, self.predict_frames)],
            generators_for(self.seed, [f"predict:{key}" for key in batch.keys]),
            size=self.system.frame_size(batch),
            first_frame=self.system.given(batch),
        )
        return torch.stack([frame.cpu() for frame in frames], dim=1)

    def configure_optimizers(self) -> Any:
        """AdamW, with a warm-up and a decay where they are asked for.

        Raises:
            UserError: a decay to the end of a run that has none.
        """
        total = self.trainer.max_steps if self.lr_decay == "cosine" else None
        if total == -1:
            raise UserError("model.lr_decay cosine ends with the run: set trainer.max_steps.")
        optimizer = optim.adamw(
            self.system,
            self.system.trainable_parameters(),
            self.lr,
            self.weight_decay,
            self.betas,
            self.optimizer_name,
        )
        self._options = optim.options_of(optimizer)
        if self.warmup_steps <= 0 and total is None:
            return optimizer
        scheduler = optim.learning_rates(optimizer, self.warmup_steps, total)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Logs the step's loss, over its micro-batches and all ranks, and the learning rate."""
        loss = torch.stack(self._losses).mean()
        self.step_loss = self.trainer.strategy.reduce(loss, reduce_op="mean")
        self.log("train/loss", self.step_loss, prog_bar=True)
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by the norm that `StepGuard` has just taken; by values as Lightning does."""
        norm = next((c.norm for c in self.trainer.callbacks if isinstance(c, StepGuard)), None)  # type: ignore[attr-defined]
        if norm is None or gradient_clip_algorithm == "value":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            parameters = self.trainer.precision_plugin.main_params(optimizer)
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves frozen weights and unfinished steps out and adds the embedded config."""
        if self.global_step == self._step:
            resume.rewind(checkpoint["loops"], self._micro_batches)
            carried = self._carried
        else:
            carried = self.system.carried()
        if carried:
            checkpoint[resume.CARRIED_KEY] = resume.of_all_ranks(carried, self.trainer.world_size)
        checkpoint["state_dict"] = trainable_state(self.system, checkpoint["state_dict"], PREFIX)
        if self.embedded_config is not None:
            checkpoint[CONFIG_KEY] = self.embedded_config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Checks that the checkpoint is of this architecture, and tells of other options.

        Raises:
            UserError: naming the first few keys that differ; another optimiser's state.
        """
        self._start = None
        rename_weights(checkpoint, self.system, PREFIX)
        if self.trainer.state.fn == TrainerFn.FITTING:
            resume.check_goes_on(checkpoint, self.optimizer_name, self.embedded_config)
        parameters = {PREFIX + n: p for n, p in self.system.trainable_parameters().items()}
        known = self.state_dict().keys()
        check_weights(checkpoint["state_dict"], parameters, "The file to resume from", known)
        if self.trainer.state.fn == TrainerFn.FITTING:
            carried = checkpoint.get(resume.CARRIED_KEY, [])
            self.system.carry(resume.of_this_rank(carried, self.trainer))
        keep_states(checkpoint.get("callbacks", {}), self.trainer.callbacks)  # type: ignore[attr-defined]

    def _evaluate(self, batch: VideoBatch, name: str) -> None:
        keys = [f"validation:{key}" for key in batch.each_target(batch.keys)]
        output = self.system.loss(batch, generators_for(self.seed, keys))
        # Lightning averages the ranks' weights as integers, rounding down: multiples stay exact.
        weight = 0 if batch.padding else len(batch) * self.trainer.world_size
        self.log(name, output.loss, prog_bar=True, batch_size=weight, sync_dist=True)
