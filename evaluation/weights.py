"""The weight files that video metrics are measured with: where they come from, and whether a file
is the right one. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.networks.weight_files import contents


@dataclass(frozen=True)
class WeightFile:
    """A published weight file.

    Attributes:
        name: file name.
        network: `i3d`, `c3d`, `c3d-mean` or `inception`.
        address: where it is published.
        size: bytes; None where nobody has said.
        sha256: None where nobody has said.
        git_blob: git's sha1 of the file, for files that are published in a repository.
    """

    name: str
    network: str
    address: str
    size: int | None = None
    sha256: str | None = None
    git_blob: str | None = None


KNOWN = (
    WeightFile(
        "i3d_torchscript.pt",
        "i3d",
        "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
        size=51_235_320,
        sha256="bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
    ),
    WeightFile(
        "i3d_pretrained_400.pt",
        "i3d",
        "https://github.com/SongweiGe/TATS/raw/main/tats/fvd/i3d_pretrained_400.pt",
        git_blob="a867b87ac3a9097d200598b1d48a1b890d8ec744",
    ),
    WeightFile(
        "conv3d_deepnetA_ucf.npz",
        "c3d",
        "https://github.com/rezoo/tgan2/releases/download/v1.0/conv3d_deepnetA_ucf.npz",
    ),
    WeightFile(
        "c3d_ucf101.pt",
        "c3d",
        "https://www.dropbox.com/s/jxpu7avzdc9n97q/c3d_ucf101.pt?dl=1",
    ),
    WeightFile(
        "mean2.npz",
        "c3d-mean",
        "https://github.com/rezoo/tgan2/releases/download/v1.0/mean2.npz",
    ),
    WeightFile(
        "pt_inception-2015-12-05-6726825d.pth",
        "inception",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        size=95_628_359,
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
)
"""Sizes and digests as several projects publish them; what is None, nobody does."""


def default_folder() -> Path:
    """`$ARTV_WEIGHTS`, or `~/.cache/lightning_artv/weights`."""
    set_by_user = os.environ.get("ARTV_WEIGHTS")
    return Path(set_by_user or "~/.cache/lightning_artv/weights").expanduser()


def locate(
    network: str,
    path: str | Path | None = None,
    folder: str | Path | None = None,
    sha256: str | None = None,
) -> Path:
    """The checked weight file of a network.

    A file that has the name of a known one must be that one. Where no digest is known, the
    checksums inside a zip (`.npz`, `.pt`) are verified.

    Args:
        network: `i3d`, `c3d`, `c3d-mean` or `inception`.
        path: an explicit file, or a folder with a known one; None looks for the known files in
            `folder`, then in torch's own cache of downloads.
        folder: None: `default_folder`.
        sha256: what the digest must be, instead of the known one.

    Raises:
        MissingWeightsError: there is none; says what to download, and where to put it.
        CorruptWeightsError: a file with another size or digest; nothing was loaded.
    """
    files = [file for file in KNOWN if file.network == network]
    found = _find(files, None if path is None else Path(path).expanduser(), folder)
    known = next((file for file in files if file.name == found.name), None)
    if sha256 is not None:
        known = WeightFile(found.name, network, "its source", sha256=sha256.lower())
    if problem := _problem(found, known):
        raise CorruptWeightsError(f"{found} {problem}, so it was not loaded: download it again.")
    return found


def describe(folder: str | Path | None = None) -> str:
    """A table of all known files: present, damaged or missing, with size, digest and address."""
    folder = default_folder() if folder is None else Path(folder).expanduser()
    lines = [f"Weights in {folder}:"]
    for file in KNOWN:
        lines += [
            f"  {file.name} ({file.network}): {_state(file, folder)}",
            f"    {_size_text(file)}, {_digest_text(file)}",
            f"    {file.address}",
        ]
    lines += [f"  {line}" for line in CLIP_LINES]
    return "\n".join(lines)


CLIP_LINES = (
    "clip: any id of the Hugging Face hub, or folder of a model; by default",
    "  openai/clip-vit-base-patch32: pytorch_model.bin",
    "  605,247,071 bytes, sha256 a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
    "  https://huggingface.co/openai/clip-vit-base-patch32",
)


def _find(files: list[WeightFile], path: Path | None, folder: str | Path | None) -> Path:
    folder = default_folder() if folder is None else Path(folder).expanduser()
    if path is None:
        places = [place for file in files for place in _places(file, folder)]
    else:
        places = [path, *(path / file.name for file in files)]
    for place in places:
        if place.is_file():
            return place
    looked = path or folder
    missing = f"There is no {path}" if path else f"The {files[0].network} weights are missing"
    if looked.is_dir():
        missing = f"No known file of the {files[0].network} weights is in {looked}, "
        missing += contents(looked)
    downloads = " or ".join(
        f"{file.name} ({_size_text(file)}, {_digest_text(file)}) from {file.address}"
        for file in files
    )
    raise MissingWeightsError(
        f"{missing}: download {downloads} into {folder}, or give the path of such a file."
    )


def _places(file: WeightFile, folder: Path) -> tuple[Path, Path]:
    """The folder, and where torch keeps downloads (pytorch-fid's is there)."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    torch_home = Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser()
    return folder / file.name, torch_home / "hub" / "checkpoints" / file.name


def _state(file: WeightFile, folder: Path) -> str:
    found = next((place for place in _places(file, folder) if place.is_file()), None)
    if found is None:
        return "missing"
    if problem := _problem(found, file):
        return f"damaged, {found} {problem}"
    if file.sha256 or file.git_blob:
        return f"present, verified, {found}"
    return f"present, {found} has sha256 {_hash(found, hashlib.sha256())}"


def _size_text(file: WeightFile) -> str:
    return f"{file.size:,} bytes" if file.size else "size unknown"


def _digest_text(file: WeightFile) -> str:
    if file.sha256:
        return f"sha256 {file.sha256}"
    return f"git blob {file.git_blob}" if file.git_blob else "sha256 unknown"


def _problem(path: Path, known: WeightFile | None) -> str | None:
    """What is wrong with a file, or None."""
    size = path.stat().st_size
    if known is not None and known.size not in (None, size):
        return f"has {size:,} bytes instead of {known.size:,}"
    if known is not None and known.sha256:
        found = _hash(path, hashlib.sha256())
        return None if found == known.sha256 else f"has sha256 {found} instead of {known.sha256}"
    if known is not None and known.git_blob:
        found = _hash(path, hashlib.sha1(b"blob %d\0" % size))
        return None if found == known.git_blob else f"is git blob {found}, not {known.git_blob}"
    return _zip_problem(path)


def _zip_problem(path: Path) -> str | None:
    """What the checksums inside a zip say."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        return f"is a damaged zip ({error})"
    return f"has another checksum than it says in its part {damaged}" if damaged else None


def _hash(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
