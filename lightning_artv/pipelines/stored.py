"""How any system's pipeline is kept: safetensors with checksums and a model card, checked before
anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor, nn

from lightning_artv.checkpoints.file import origin
from lightning_artv.errors import CorruptWeightsError, UserError
from lightning_artv.pipelines.card import About, write_card
from lightning_artv.pipelines.folder import (
    Layout,
    check_tensors,
    local_folder,
    variant_of,
    write_checksums,
)
from lightning_artv.systems.base import Origin, VideoModel

FAILURES = (
    *(OSError, ValueError, RuntimeError, KeyError, TypeError),
    *(AttributeError, ImportError, AssertionError),
)
"""What diffusers and its libraries raise at options and files that they cannot use."""


def align(module: nn.Module) -> None:
    """Put weights where torch would: a file's lie anywhere, and kernels round by where they lie."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()


@dataclass
class VideoPipelineOutput(BaseOutput):
    """Attributes:
    frames: of each video; a list of lists of PIL images, or an array `[B, T, H, W, 3]`, or a
        tensor `[B, T, 3, H, W]`, both float32 in [0, 1].
    """

    frames: list[list[Image.Image]] | np.ndarray | Tensor


Stored = TypeVar("Stored", bound="StoredPipeline")


class StoredPipeline(DiffusionPipeline):
    """A pipeline whose `config.training` says what its model card tells of the training.

    Attributes:
        about: what model cards say of the system.
        parts: module of the parts that are neither of diffusers nor of transformers.
        earlier_parts: where that module was in earlier versions.
    """

    about: ClassVar[About]
    parts: ClassVar[str]
    earlier_parts: ClassVar[tuple[str, ...]] = ()

    _checked_parts: ClassVar[tuple[str, ...]] = ()
    """Parts whose files must hold exactly the tensors that the loaded part has."""

    @classmethod
    def from_system(
        cls: type[Stored], system: VideoModel, training: Mapping[str, Any] | None = None
    ) -> Stored:
        """A pipeline of a system's networks; tensors are shared.

        Args:
            system: system of the pipeline's kind.
            training: what the model card tells.

        Raises:
            UserError: a system of another kind.
        """
        raise NotImplementedError

    def to_system(self) -> VideoModel:
        """The system of these parts."""
        raise NotImplementedError

    def _origin(self, **described: Any) -> Origin:
        """What the system of these parts says of itself; `described`: besides the scheduler."""
        size, scheduler = self.config.frame_size, self.scheduler.config
        kept = {name: value for name, value in scheduler.items() if not name.startswith("_")}
        trained = None if size is None else (size[0], size[1])
        return origin(trained, self.config.fps, kept | described)

    @classmethod
    def _layout(cls) -> Layout:
        kinds = [kind for kind in cls.__mro__ if issubclass(kind, StoredPipeline)]
        names = tuple(kind.__name__ for kind in kinds if hasattr(kind, "parts"))  # a system's own
        return Layout(names, cls.parts, cls.earlier_parts)

    @classmethod
    def from_pretrained(
        cls: type[Stored], pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> Stored:
        """Load what `save_pretrained` or `lightning export` wrote: a folder or a hub id.

        Only safetensors are read, every file is compared with `sha256.txt`, and no code is taken
        from the folder.

        Args:
            pretrained_model_name_or_path: folder or hub id.
            kwargs: diffusers' (`torch_dtype`, `variant`, `revision`, parts to take the place of the
                folder's).

        Raises:
            UserError: an option that cannot be used here.
            MissingWeightsError: nothing there, or a file or the variant is missing.
            CorruptWeightsError: a damaged file, or not what an export writes.
        """
        kwargs["use_safetensors"] = True
        folder = local_folder(
            pretrained_model_name_or_path, cls._layout(), kwargs.pop("revision", None)
        )
        kwargs["variant"] = variant_of(folder, kwargs.get("variant"))
        try:
            pipeline = super().from_pretrained(folder, **kwargs)
        except FAILURES as error:
            raise cls._why(folder, kwargs, error) from error
        for name in cls._checked_parts:
            if name not in kwargs and getattr(pipeline, name) is not None:
                check_tensors(folder, name, getattr(pipeline, name).state_dict().keys())
        for part in pipeline.components.values():
            if isinstance(part, nn.Module):
                align(part)
        return pipeline

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """diffusers' `load_config`, also of a folder that an earlier version wrote."""
        config = super().load_config(*args, **kwargs)
        return cls._layout().today(config) if isinstance(config, dict) else config

    @classmethod
    def _why(cls, folder: Path, options: Mapping[str, Any], error: Exception) -> UserError:
        """Options that cannot be used, or a damaged folder: that fails without options too."""
        reason = " ".join(str(error).split())[:200].rstrip(".")
        variant = options["variant"]
        given = [name for name in options if name not in ("variant", "use_safetensors")]
        if given:
            with suppress(*FAILURES):
                super().from_pretrained(folder, use_safetensors=True, variant=variant)
                return UserError(
                    f"{folder} cannot be loaded with {', '.join(given)} ({reason}): leave that "
                    f"away or change it."
                )
        return CorruptWeightsError(
            f"{folder} cannot be loaded as an {cls.__name__} ({reason}): export it again."
        )

    def save_pretrained(
        self, save_directory: str | Path, safe_serialization: bool = True, **kwargs: Any
    ) -> None:
        """diffusers' `save_pretrained`, with a model card and `sha256.txt`.

        Raises:
            UserError: another format than safetensors is asked for.
        """
        if not safe_serialization:
            raise UserError(
                f"{type(self).__name__} saves safetensors only: leave safe_serialization True."
            )
        folder = Path(save_directory)
        super().save_pretrained(str(folder), **kwargs)
        write_checksums(folder)
        write_card(folder, self.about, self.config.training or {})

    def _upload_folder(self, working_dir: str | Path, repo_id: str, **kwargs: Any) -> Any:
        """Complete a folder before its upload: diffusers puts an empty card in place of ours."""
        folder = Path(working_dir)
        write_checksums(folder)
        write_card(folder, self.about, self.config.training or {}, repo_id)
        return super()._upload_folder(working_dir, repo_id, **kwargs)
