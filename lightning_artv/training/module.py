"""The only LightningModule: it trains any `VideoSystem` and knows nothing of how one works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import AdamW

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.systems.base import LossOutput, Segment, VideoSystem
from lightning_artv.training.checkpoint import CONFIG_KEY, check_weights, trainable_state
from lightning_artv.training.optim import adamw, gradient_norm, linear_warmup

_PREFIX = "system."


class VideoModule(LightningModule):
    """Training, validation and prediction of a system (paper Sec. 4).

    A sample's randomness in training is a hash of (seed, global step, the sample's key), so it
    depends neither on the rank nor on the batch mates; in validation it is a hash of (seed, key)
    alone, so every validation sees the same noise and timesteps.

    Args:
        system: what is trained.
        lr: constant learning rate.
        weight_decay: of AdamW, on everything but norms, biases and embeddings.
        betas: of AdamW.
        warmup_steps: optimiser steps over which lr rises linearly from lr / warmup_steps; 0 for
            none.
        seed: of the noise, timesteps and dropped conditions.
        predict_frames: frames of the clips that `lightning predict` generates, the first frame
            included.
    """

    def __init__(
        self,
        system: VideoSystem,
        lr: float = 1e-5,
        weight_decay: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        warmup_steps: int = 0,
        seed: int = 0,
        predict_frames: int = 16,
    ) -> None:
        super().__init__()
        self.system = system
        self.lr = lr
        self.weight_decay = weight_decay
        self.betas = (betas[0], betas[1])
        self.warmup_steps = warmup_steps
        self.seed = seed
        self.predict_frames = predict_frames
        self.embedded_config: dict[str, Any] | None = None
        """What `checkpoint.embedded_config` made of the run's config; the command line sets it."""
        # Frozen weights are not stored; `on_load_checkpoint` checks the others.
        self.strict_loading = False

    def training_step(self, batch: VideoBatch, batch_idx: int) -> dict[str, Tensor | None]:
        """The loss of one batch, and what callbacks show of it.

        Raises:
            UserError: a loss that is not finite, before it reaches the weights; it names the
                samples.
        """
        output = self.system.loss(batch, generators_for(self.seed, self._keys(batch)))
        self._check_finite(output, batch.each_target(batch.keys))
        self.log("train/loss", output.loss, prog_bar=True, batch_size=len(batch))
        return {
            "loss": output.loss,
            "per_sample": output.per_sample,
            "timesteps": output.timesteps,
            "mask_mean": output.mask_mean,
        }

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Logs `val/loss` with fixed noise and timesteps."""
        self._evaluate(batch, "val/loss")

    def test_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Logs `test/loss` with fixed noise and timesteps."""
        self._evaluate(batch, "test/loss")

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """Clips that begin with the batch's anchor frames, uint8 `[B, T, 3, H, W]`."""
        frames = self.system.generate(
            [Segment(batch.captions, self.predict_frames)],
            generators_for(self.seed, [f"predict:{key}" for key in batch.keys]),
            size=self.system.frame_size(batch),
            first_frame=self.system.pixels(batch.anchor),
        )
        return torch.stack([frame.cpu() for frame in frames], dim=1)

    def configure_optimizers(self) -> Any:
        """AdamW, with a warm-up where one is asked for."""
        optimizer: AdamW = adamw(
            self.system,
            self.system.trainable_parameters(),
            self.lr,
            self.weight_decay,
            self.betas,
        )
        if self.warmup_steps <= 0:
            return optimizer
        scheduler = linear_warmup(optimizer, self.warmup_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Logs the gradient norm (before clipping) and the learning rate.

        Raises:
            UserError: a gradient that is not finite, before it reaches the weights.
        """
        norm = gradient_norm(self.system.trainable_parameters())
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if not scaled and not bool(torch.isfinite(norm)):
            raise UserError(
                f"The gradient is {norm.item()} at step {self.global_step}: lower model.lr or set "
                "trainer.gradient_clip_val."
            )
        self.log("train/gradient_norm", norm)
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves frozen weights out and adds the embedded config."""
        checkpoint["state_dict"] = trainable_state(self.system, checkpoint["state_dict"], _PREFIX)
        if self.embedded_config is not None:
            checkpoint[CONFIG_KEY] = self.embedded_config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Checks that the checkpoint is of this architecture.

        Raises:
            UserError: naming the first few keys that differ.
        """
        parameters = {_PREFIX + n: p for n, p in self.system.trainable_parameters().items()}
        known = self.state_dict().keys()
        check_weights(checkpoint["state_dict"], parameters, "The file to resume from", known)

    def _keys(self, batch: VideoBatch) -> list[str]:
        """A name a sample for its randomness; one that is in the batch twice gets two names."""
        seen: Counter[str] = Counter()
        names = []
        for key in batch.each_target(batch.keys):
            names.append(f"train:{self.global_step}:{key}:{seen[key]}")
            seen[key] += 1
        return names

    def _evaluate(self, batch: VideoBatch, name: str) -> None:
        keys = [f"validation:{key}" for key in batch.each_target(batch.keys)]
        output = self.system.loss(batch, generators_for(self.seed, keys))
        self.log(name, output.loss, prog_bar=True, batch_size=len(batch), sync_dist=True)

    def _check_finite(self, output: LossOutput, keys: Sequence[str]) -> None:
        if bool(torch.isfinite(output.loss.detach())):
            return
        bad = [k for k, v in zip(keys, output.per_sample.tolist(), strict=True) if v - v != 0]
        names = ", ".join(bad[:5] or keys[:5])
        raise UserError(
            f"The loss is {output.loss.item()} at step {self.global_step} for {names}: lower "
            "model.lr or remove these samples; no weight was changed by this step."
        )
