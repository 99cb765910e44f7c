"""What libraries say at each run and no user can act on is left out; the rest is heard."""

from __future__ import annotations

import logging
import warnings

import torch
from diffusers import AutoencoderKL
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.data import has_len_all_ranks
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils._pytree import LeafSpec

from lightning_artv.quiet import silence


class Heard(logging.Handler):
    """Keeps what a logger lets through."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.logger = logging.getLogger(name)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def test_a_trainer_advertises_nothing() -> None:
    heard = Heard("lightning.pytorch.utilities.rank_zero")
    heard.logger.setLevel(logging.INFO)
    silence()
    Trainer(accelerator="cpu", logger=False, enable_model_summary=False)
    rank_zero_info("useful")
    assert "useful" in heard.messages and len(heard.messages) > 1
    assert not [message for message in heard.messages if "litlogger" in message]
    heard.logger.removeHandler(heard)


def test_a_cast_says_nothing_of_modules_that_there_are_not() -> None:
    heard = Heard("diffusers.models.modeling_utils")
    silence()
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2)
    vae.to(torch.bfloat16)
    assert heard.messages == []
    vae._keep_in_fp32_modules = ["quant_conv"]
    vae.to(torch.float32)
    assert len(heard.messages) == 1 and "['quant_conv']" in heard.messages[0]
    heard.logger.removeHandler(heard)


def test_what_is_meant_or_not_the_users_is_not_warned_of() -> None:
    trainer = Trainer(accelerator="cpu", logger=False)
    trainer.strategy.connect(LightningModule().eval())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence()
        LeafSpec()
        trainer.fit_loop._warn_if_modules_in_eval_mode()
        has_len_all_ranks([], trainer.strategy)
        warnings.warn("another", FutureWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["another"]
