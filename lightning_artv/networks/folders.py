"""Where the files of trained networks are: a folder here, or a snapshot of a hub repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_artv.errors import MissingWeightsError
from lightning_artv.given import check_weights_given
from lightning_artv.networks.weight_files import contents, first_line


def resolve(
    pretrained: str,
    subfolder: str,
    revision: str | None = None,
    endings: Sequence[str] = ("json", "safetensors", "txt"),
) -> Path:
    """The local folder of `pretrained`: itself, or the hub snapshot that holds `subfolder`.

    Args:
        subfolder: where the model is; `""` for a repository that is itself the model.
        endings: endings of the files of a hub repository that are fetched.
    """
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        if not (folder / subfolder).is_dir():
            raise MissingWeightsError(
                f"{folder} has no subfolder {subfolder}, {contents(folder)}: give a folder written "
                f"by diffusers' save_pretrained, or a .safetensors file."
            )
        return folder
    check_weights_given(pretrained)
    return snapshot(pretrained, subfolder, revision, [f"*.{ending}" for ending in endings])


def snapshot(hub_id: str, subfolder: str, revision: str | None, names: Sequence[str]) -> Path:
    """The local folder of a hub repository, into which the files of `subfolder` with these names
    (patterns) are downloaded.

    Raises:
        MissingWeightsError: it is neither in the cache nor can it be downloaded.
    """
    from huggingface_hub import snapshot_download

    part = f" ({subfolder})" if subfolder else ""
    patterns = [(Path(subfolder) / name).as_posix() for name in names]
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except Exception as error:  # whatever a hub answers, or who stands between it and here
        raise MissingWeightsError(
            f"{hub_id}{part} is no folder here, and as a hub id it is neither in the local cache "
            f"nor could it be downloaded ({first_line(error)}): download it where there is a "
            f"network and give the folder."
        ) from error
