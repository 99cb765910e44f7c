"""Loading weights that others trained: from a folder, a file or a hub id, safetensors only,
checked, never in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from torch import nn

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.given import is_hub_id
from lightning_artv.networks import weight_files
from lightning_artv.networks.folders import resolve as resolve
from lightning_artv.networks.folders import snapshot
from lightning_artv.networks.weight_files import (
    DIFFUSERS_STEM,
    TRANSFORMERS_STEM,
    WeightFiles,
    first_line,
)
from lightning_artv.networks.weight_files import check_sha256 as check_sha256
from lightning_artv.networks.weight_files import sha256_of as sha256_of
from lightning_artv.quiet import silence

silence()  # of what diffusers says about the models that are loaded here

ModelT = TypeVar("ModelT", bound=nn.Module)

_UNUSABLE = (
    *(OSError, ValueError, RuntimeError, SafetensorError),
    *(TypeError, AttributeError, KeyError, IndexError, ArithmeticError),  # odd settings
)


def without_bars() -> None:
    """Keep diffusers' and transformers' own bars, one per part, out of our commands' output."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def load_model(
    cls: type[ModelT],
    pretrained: str,
    subfolder: str,
    revision: str | None = None,
    sha256: str | None = None,
    variant: str | None = None,
) -> ModelT:
    """Load `cls` (a diffusers or transformers model) from `pretrained/subfolder`, safetensors only,
    in float32.

    Args:
        pretrained: folder, hub id, weight file inside such a folder, or a file that holds all parts
            of a Stable Diffusion.
        sha256: expected digest, see `weight_files.digest_of`.
        variant: name such as `fp16`; None takes the plain weights, or else the only variant there
            is.

    Raises:
        MissingWeightsError: nothing there, or not what is wanted; says which files are there.
        CorruptWeightsError: a file that is damaged, or whose sha256 differs.
    """
    without_bars()
    if _is_single_file(pretrained):
        from lightning_artv.networks.single_file import load_single_file

        return load_single_file(cls, Path(pretrained).expanduser(), subfolder, sha256)
    root, subfolder, weights = find_model(cls, pretrained, subfolder, revision, variant)
    if sha256 is not None:
        check_sha256(weights.files, sha256)
    weight_files.check_readable(weights)
    options = {"subfolder": subfolder, "variant": weights.variant, "use_safetensors": True}
    try:
        model, info = cls.from_pretrained(root, **options, output_loading_info=True)  # type: ignore[attr-defined]
    except _UNUSABLE as error:
        raise CorruptWeightsError(
            f"{root / subfolder} cannot be loaded as {cls.__name__} ({first_line(error)}): "
            f"download it again."
        ) from error
    weight_files.check_complete(info["missing_keys"], root / subfolder)
    return model.float()


def find_model(
    cls: type[nn.Module],
    pretrained: str,
    subfolder: str,
    revision: str | None = None,
    variant: str | None = None,
) -> tuple[Path, str, WeightFiles]:
    """Root folder, subfolder and weight files of a model that its library would find.

    Raises:
        MissingWeightsError: no weights in safetensors, or no config.json.
        CorruptWeightsError: an index that cannot be read.
    """
    stem = DIFFUSERS_STEM if cls.__module__.startswith("diffusers.") else TRANSFORMERS_STEM
    path = Path(pretrained).expanduser()
    if path.is_file():
        if _is_single_file(pretrained):
            raise MissingWeightsError(
                f"There is no config.json beside {path}: give a folder with all files of the "
                f"model, or its hub id."
            )
        variant = weight_files.variant_of(path, stem)
        root, subfolder = _component(path, subfolder)
        weights = weight_files.find(path.parent, stem, variant)
    elif is_hub_id(pretrained):
        root, weights = _find_on_hub(cls, stem, pretrained, subfolder, revision, variant)
    else:
        root = resolve(pretrained, subfolder)
        try:
            weights = weight_files.find(root / subfolder, stem, variant)
        except MissingWeightsError as error:
            if pickled := weight_files.pickles(root / subfolder):
                raise MissingWeightsError(_conversion(cls, pickled[0])) from error
            raise
    if not (root / subfolder / "config.json").is_file():  # a library would take its defaults
        raise MissingWeightsError(
            f"{root / subfolder} has no config.json: give all files of the model."
        )
    return root, subfolder, weights


def load_config(
    cls: Any, pretrained: str, subfolder: str, revision: str | None = None
) -> dict[str, Any]:
    """The `config.json` of a diffusers model as a dict, without its underscored keys.

    Raises:
        MissingWeightsError: it is not there.
        CorruptWeightsError: it is no JSON.
    """
    folder, subfolder = config_folder(pretrained, subfolder, revision)
    if not (folder / subfolder / "config.json").is_file():
        raise MissingWeightsError(f"{folder / subfolder} has no config.json: give all files of it.")
    try:
        config = cls.load_config(folder, subfolder=subfolder)
        if not isinstance(config, dict):
            raise ValueError("it holds no settings")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CorruptWeightsError(
            f"{folder / subfolder / 'config.json'} cannot be read ({first_line(error)}): download "
            f"it again."
        ) from error
    return {k: v for k, v in config.items() if not k.startswith("_")}


def config_folder(pretrained: str, subfolder: str, revision: str | None = None) -> tuple[Path, str]:
    """Root folder and subfolder where a part's settings are, weights or not.

    Raises:
        MissingWeightsError: there is no such folder.
    """
    if _is_single_file(pretrained):
        from lightning_artv.networks.single_file import configs_of

        return configs_of(Path(pretrained).expanduser(), subfolder), subfolder
    path = Path(pretrained).expanduser()
    if path.is_file():
        return _component(path, subfolder)
    return resolve(pretrained, subfolder, revision, ("json", "txt")), subfolder


def _find_on_hub(
    cls: type[nn.Module],
    stem: str,
    hub_id: str,
    subfolder: str,
    revision: str | None,
    variant: str | None,
) -> tuple[Path, WeightFiles]:
    """Fetch the plain weights, and variants only where there are none: all would be many files."""
    plain = [f"{stem}.safetensors", f"{stem}-*.safetensors"]
    attempts = [plain, [f"{stem}.*safetensors"]] if variant is None else [[f"{stem}.{variant}*"]]
    for names in attempts:
        root = snapshot(hub_id, subfolder, revision, ["*.json", "*.txt", *names])
        try:
            return root, weight_files.find(root / subfolder, stem, variant)
        except (MissingWeightsError, FileNotFoundError) as error:
            missing = error
    convert = _conversion_command(cls, hub_id, subfolder)
    raise MissingWeightsError(
        f"{hub_id} has no {subfolder or 'model'} in safetensors ({first_line(missing)}); if its "
        f"weights are .bin files, convert them once: {convert}"
    ) from missing


def _is_single_file(pretrained: str) -> bool:
    """A file without the config.json of one part beside it: it may hold all parts."""
    path = Path(pretrained).expanduser()
    return path.is_file() and not path.with_name("config.json").is_file()


def _component(path: Path, subfolder: str) -> tuple[Path, str]:
    """Root folder and subfolder of a weight file in a part's own folder."""
    folder = path.parent
    return (folder.parent, subfolder) if folder.name == subfolder else (folder, "")


def _conversion(cls: type[nn.Module], path: Path) -> str:
    """One sentence about a folder whose weights would have to be unpickled."""
    parts = path.name.split(".")
    variant = parts[1] if len(parts) == 3 and "-" not in parts[1] else None
    command = _conversion_command(cls, str(path.parent), "", variant)
    return (
        f"{path.parent} has its weights only as {path.name}, which may hold code and is not read: "
        f"convert it to safetensors with {command}"
    )


def _conversion_command(
    cls: type[nn.Module], source: str, subfolder: str, variant: str | None = None
) -> str:
    library = cls.__module__.partition(".")[0]
    target = f"FOLDER/{subfolder}" if subfolder else source
    more = f", subfolder={subfolder!r}" if subfolder else ""
    chosen = f", variant={variant!r}" if variant else ""
    return (
        f'`python -c "from {library} import {cls.__name__} as M; '
        f"M.from_pretrained({source!r}{more}{chosen}, use_safetensors=False)"
        f'.save_pretrained({target!r})"`.'
    )
