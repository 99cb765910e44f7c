"""`lightning fit | validate | test | predict`: LightningCLI with strict configuration files.

Several `--config` merge left to right after what they extend, `${data.size}` reaches across all of
them, `--dotted.keys` override, and the resolved configuration is saved beside each run and
embedded in its checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import set_parsing_settings
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf.errors import OmegaConfBaseException

from lightning_artv.checkpoints.file import check_checkpoint, embedded_config
from lightning_artv.checkpoints.replacing import recover
from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.errors import UserError, system_sentence
from lightning_artv.media.atomic import atomic_path
from lightning_artv.quiet import silence
from lightning_artv.training.atomic_io import AtomicCheckpointIO
from lightning_artv.training.config_errors import check_trainer, explain, refusal
from lightning_artv.training.extends import expand
from lightning_artv.training.module import VideoModule
from lightning_artv.training.run_folder import best, last, newest_named, refuse_used
from lightning_artv.training.saving import RunCheckpoint

SUBCOMMANDS = ("fit", "validate", "test", "predict")
DEFAULT_SEED = 0


class Parser(LightningArgumentParser):
    """Raises a UserError of one sentence where jsonargparse prints its usage and exits."""

    def parse_args(self, args: Any = None, *others: Any, **named: Any) -> Any:
        """jsonargparse's, which hands the value of `--a.init_args.b null` on as the text None."""
        if args and not self.exit_on_error:  # a parser of its own for a class's options
            args = [re.sub("(?<==)None$", "null", argument) for argument in args]
        return super().parse_args(args, *others, **named)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises:
        UserError: always, unless this is a parser that jsonargparse tries and then discards.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        raise UserError(explain(message, parser)) from ex


class SaveConfig(SaveConfigCallback):
    """Saves `config.yaml` beside the run; a resumed run adds `config_1.yaml`, so both are kept.

    A file of that name is whole: whoever kills the run while it is written leaves none.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let Lightning write a hidden file, then give it the first free name."""
        folder = trainer.log_dir  # a broadcast: every rank must ask
        if self.already_saved or not trainer.is_global_zero or folder is None:
            super().setup(trainer, pl_module, stage)
            return
        with atomic_path(free_name(Path(folder), "config", ".yaml")) as unfinished:
            self.config_filename = unfinished.name
            super().setup(trainer, pl_module, stage)


def free_name(folder: Path, stem: str, suffix: str) -> Path:
    """`stem.suffix`, or the first of `stem_1.suffix`, `stem_2.suffix`, ... that is still free."""
    paths = (folder / f"{stem}{f'_{i}' if i else ''}{suffix}" for i in range(100_000))
    return next(path for path in paths if not path.exists())


class VideoCLI(LightningCLI):
    """LightningCLI of this project: one module, one data module, safe checkpoint loading.

    Args:
        subcommands: those that it knows; each takes a fifth of a second to describe.
        options: of LightningCLI.
    """

    def __init__(self, subcommands: Sequence[str], **options: Any) -> None:
        self._known = subcommands
        super().__init__(**options)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, turning interpolation errors into a sentence."""
        try:
            self.config = parser.parse_args(args)
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"The configuration cannot be interpolated: {reason}.") from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """`extends` is resolved by `expand` before parsing; here it only has to be a known key."""
        parser.add_argument("--extends", type=str | None, default=None, help="a base config file")

    def _parse_ckpt_path(self) -> None:
        """Check the checkpoint early; ours carry nothing that would override the command line."""
        path = self.config[self.config.subcommand].get("ckpt_path")
        if path and path not in ("last", "best", "hpc"):
            check_checkpoint(path)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer that writes checkpoints atomically, unless a plugin is configured for that."""
        check_trainer(self._get(self.config_init, "trainer", default={}))
        trainer = super().instantiate_trainer(**kwargs)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        for callback in trainer.checkpoint_callbacks:
            RunCheckpoint.of(callback)
        for folder in checkpoint_folders(trainer):
            recover(folder)
        return trainer

    def after_instantiate_classes(self) -> None:
        """Hand the resolved configuration to the module, which embeds it in checkpoints."""
        self._dump_config()
        self.model.embedded_config = embedded_config(self.config_dump)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # is called on self
        """Lightning's, without `weights_only`: it is always on."""
        inherited = LightningCLI.subcommands()
        return {name: {*inherited[name], "weights_only"} for name in self._known}

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if subcommand == "predict":
            kwargs["return_predictions"] = False  # a callback may write them; a list would grow
        kwargs["ckpt_path"] = self._start(subcommand, kwargs.get("ckpt_path"))
        return {**kwargs, "weights_only": True}

    def _run_subcommand(self, subcommand: str) -> None:
        """Lightning's; where the disk is full or forbidden, the newest checkpoint is named."""
        try:
            super()._run_subcommand(subcommand)
        except OSError as error:
            if (sentence := system_sentence(error)) is None:
                raise
            with newest_named(*checkpoint_folders(self.trainer)):
                raise UserError(sentence) from error

    def _start(self, subcommand: str, path: str | None) -> str | None:
        """The checkpoint to begin with.

        Raises:
            UserError: a new run in a used folder, or nothing there to go on from or to evaluate.
        """
        folders = checkpoint_folders(self.trainer)
        if path == "last" and folders:
            found = last(folders)
            if found is None and subcommand != "fit":
                raise UserError(f"There is no checkpoint in {folders[0]}: give --ckpt_path a file.")
            return None if found is None else str(found)
        if path == "best":
            return str(best(folders))
        trial = self.trainer.fast_dev_run  # type: ignore[attr-defined]
        if path is None and subcommand == "fit" and not trial:
            requeued = SLURMEnvironment.detect() and any(
                Path(self.trainer.default_root_dir).glob("hpc_ckpt_*.ckpt")
            )
            if not requeued:
                refuse_used(folders)
        return path


def checkpoint_folders(trainer: Trainer) -> list[Path]:
    """Where the trainer's callbacks are told to write checkpoints."""
    folders = (getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks)
    return [Path(folder) for folder in dict.fromkeys(folders) if folder]


def run(arguments: Sequence[str]) -> VideoCLI:
    """Run one subcommand of Lightning, such as `["fit", "--config", "configs/artv/demo.yaml"]`.

    Raises:
        UserError: a key, class, value or file that does not exist, or an option that Lightning
            refuses, in one sentence.
    """
    silence()
    try:
        return _cli(arguments)
    except UserError:
        raise
    except Exception as error:
        if isinstance(error.__cause__, UserError):  # of a class of ours, wrapped by jsonargparse
            raise error.__cause__ from None
        sentence = refusal(error)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def _cli(arguments: Sequence[str]) -> VideoCLI:
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    mode = {"parser_mode": "omegaconf+", "allow_abbrev": False}
    named = [name for name in SUBCOMMANDS if name in arguments[:1]] or SUBCOMMANDS
    return VideoCLI(
        named,
        model_class=VideoModule,
        datamodule_class=VideoDataModule,
        args=expand(arguments),
        parser_class=Parser,
        parser_kwargs={**mode, **{name: dict(mode) for name in named}},
        save_config_callback=SaveConfig,
        save_config_kwargs={"overwrite": True},
        seed_everything_default=DEFAULT_SEED,
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
    )
