"""Which files hold a model's weights: one file, or shards that an index lists, plain or a variant.

The names are those of diffusers and transformers: `STEM.safetensors`, `STEM.fp16.safetensors`,
`STEM.safetensors.index.json` with `STEM-00001-of-00002.safetensors`, and so on. Only safetensors
are weights here: other formats have to be unpickled.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.files import parse_json

DIFFUSERS_STEM = "diffusion_pytorch_model"
TRANSFORMERS_STEM = "model"

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHARD = re.compile(r"-\d+-of-\d+\.safetensors$")
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class WeightFiles:
    """The files that one variant of a model consists of.

    Attributes:
        files: weight files in the order of their names, without the index.
        variant: name such as `fp16`; None for the plain weights.
        tensors: names that the index of shards lists.
    """

    files: tuple[Path, ...]
    variant: str | None = None
    tensors: frozenset[str] = frozenset()


def find(folder: Path, stem: str, variant: str | None = None) -> WeightFiles:
    """The weight files of the model in `folder`.

    Args:
        stem: name of the weights without ending, `DIFFUSERS_STEM` or `TRANSFORMERS_STEM`.
        variant: the one to take; None takes the plain weights, or else the only variant there is.

    Raises:
        MissingWeightsError: no such weights; says which file is wanted and which are there.
        CorruptWeightsError: an index that cannot be read.
    """
    there = variants(folder, stem)
    if variant is None and None not in there and len(there) == 1:
        variant = next(iter(there))
    if variant not in there:
        raise MissingWeightsError(_missing(folder, _named(stem, variant), there))
    path = there[variant]
    if path.suffix == ".safetensors":
        return WeightFiles((path,), variant)
    files, tensors = _shards(path)
    return WeightFiles(files, variant, tensors)


def variants(folder: Path, stem: str) -> dict[str | None, Path]:
    """Variant -> its weight file or index; the plain weights are the variant None."""
    single = re.compile(rf"{stem}(?:\.([^.]+))?\.safetensors")
    index = re.compile(rf"{stem}\.safetensors\.index(?:\.([^.]+))?\.json")
    # of both, diffusers reads the index and transformers the file
    patterns = (single, index) if stem == DIFFUSERS_STEM else (index, single)
    found: dict[str | None, Path] = {}
    names = [path for path in sorted(folder.iterdir()) if not _SHARD.search(path.name)]
    for pattern in patterns:
        matches = ((pattern.fullmatch(path.name), path) for path in names)
        found.update({match[1]: path for match, path in matches if match})
    return found


def pipeline_variant(folder: Path) -> str | None:
    """The variant that a diffusers pipeline has to be asked for; None where plain weights do. The
    weights of all parts are checked.

    Raises:
        MissingWeightsError, CorruptWeightsError: weights of a part that are not whole.
    """
    chosen: set[str] = set()
    for part in (path for path in sorted(folder.iterdir()) if path.is_dir()):
        for stem in (DIFFUSERS_STEM, TRANSFORMERS_STEM):
            if variants(part, stem):
                weights = find(part, stem)
                check_readable(weights)
                chosen |= {weights.variant} if weights.variant else set()
    return min(chosen, default=None)


def variant_of(path: Path, stem: str) -> str | None:
    """The variant that a weight file's name says.

    Raises:
        MissingWeightsError: the library that loads the model would not find a file of that name.
    """
    match = re.fullmatch(rf"{stem}(?:\.([^.]+))?\.safetensors", path.name)
    if not match:
        raise MissingWeightsError(
            f"{path} is not named as the weights of the config.json beside it: rename it to "
            f"{stem}.safetensors, or give the folder."
        )
    return match[1]


def check_readable(weights: WeightFiles) -> None:
    """Check that each file can be read, has the length that its header says, and that all files
    together hold the tensors that the index lists.

    Raises:
        MissingWeightsError: a file that may not be read, or a pointer of Git LFS in its place.
        CorruptWeightsError: a damaged file.
    """
    there: set[str] = set()
    for path in weights.files:
        try:
            with path.open("rb") as f:
                start = f.read(len(_LFS_POINTER))
            if start == _LFS_POINTER:
                raise MissingWeightsError(
                    f"{path} is only a pointer of Git LFS: run `git lfs pull` in its folder."
                )
            with safe_open(path, framework="np") as opened:
                there.update(opened.keys())
        except SafetensorError as error:
            raise CorruptWeightsError(
                f"{path} is damaged ({first_line(error)}): download it again."
            ) from error
        except OSError as error:
            raise MissingWeightsError(f"{path} cannot be read ({error.strerror}).") from error
    check_complete(weights.tensors - there, weights.files[0].parent)


def check_complete(missing: Collection[str], source: Path) -> None:
    """Raise `CorruptWeightsError` if tensors are missing: the libraries warn at most, and leave
    random numbers in their place.
    """
    if missing:
        raise CorruptWeightsError(
            f"{source} lacks {len(missing)} tensors of the model, such as {min(missing)}: give "
            f"weights of this model, or download it again."
        )


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_of(files: Sequence[Path]) -> str:
    """Hex sha256 of a weight file; of shards, that of what `sha256sum` prints about them in order
    (`sha256sum model-*.safetensors | sha256sum`).
    """
    if len(files) == 1:
        return sha256_of(files[0])
    lines = "".join(f"{sha256_of(path)}  {path.name}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def check_sha256(files: Sequence[Path], expected: str) -> None:
    """Raise `CorruptWeightsError` unless `digest_of(files)` is the expected one."""
    found = digest_of(files)
    if found == expected.lower():
        return
    what = str(files[0])
    if len(files) > 1:
        what = f"The list of the sha256 of {len(files)} shards, {files[0].parent / '*'},"
    raise CorruptWeightsError(
        f"{what} has sha256 {found}, expected {expected}: download again, or correct the digest."
    )


def contents(folder: Path, limit: int = 6) -> str:
    """What a folder holds, in words for a message: its first few names."""
    names = [path.name for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"it holds {', '.join(names[:limit])}{more}" if names else "it is empty"


def pickles(folder: Path) -> list[Path]:
    """Files in a format that has to be unpickled."""
    return [path for path in sorted(folder.iterdir()) if path.suffix in _PICKLES]


def first_line(error: Exception) -> str:
    """The first line of what an error says, at most 200 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _named(stem: str, variant: str | None) -> str:
    return f"{stem}.{variant}.safetensors" if variant else f"{stem}.safetensors"


def _shards(index: Path) -> tuple[tuple[Path, ...], frozenset[str]]:
    """The files and the tensors that an index lists."""
    try:
        listed = parse_json(index.read_text(encoding="utf-8"))["weight_map"]
        files = tuple(index.with_name(name) for name in sorted(set(listed.values())))
        if not files:
            raise ValueError("it lists nothing")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptWeightsError(
            f"{index} is no index of weight files: download it again."
        ) from error
    for path in files:
        if not path.is_file():
            raise MissingWeightsError(
                f"{path} is missing, one of {len(files)} files that {index.name} lists: download "
                f"it."
            )
    return files, frozenset(listed)


def _missing(folder: Path, wanted: str, there: Iterable[str | None]) -> str:
    """One sentence about weights that are not there."""
    others = ", ".join(name or "(plain)" for name in there)
    if others:
        advice = f"it has the variants {others}: choose one with `variant`."
    elif any(_SHARD.search(path.name) for path in folder.iterdir()):
        advice = f"{contents(folder)}: download {wanted}.index.json, which lists the shards, too."
    else:
        advice = f"{contents(folder)}: download {wanted}, or rename the file if it is there."
    return f"{folder} has no {wanted}; {advice}"
