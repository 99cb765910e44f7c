"""A folder that cannot be used is one sentence, and runs nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file
from tiny_systems import generate

from lightning_artv import ARTVPipeline
from lightning_artv.errors import CorruptWeightsError, MissingWeightsError, UserError
from lightning_artv.pipelines.folder import CHECKSUMS, INDEX, write_checksums


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flip(path: Path) -> None:
    """One bit of the last byte: as many bytes, and a header that reads well."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def edit_index(folder: Path, **changes: Any) -> None:
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps({**index, **changes}))
    write_checksums(folder)


def drop_tensor(path: Path) -> None:
    """A file that reads well, without one of its tensors."""
    tensors = load_file(path)
    tensors.pop(next(name for name in tensors if "to_v_anchor" in name))
    save_file(tensors, path)


WEIGHTS = "conditioning/diffusion_pytorch_model.safetensors"

DAMAGES: dict[str, tuple[Callable[[Path], Any], type[UserError], str]] = {
    "no folder": (shutil.rmtree, MissingWeightsError, "does not exist"),
    "another folder": (lambda f: (f / INDEX).unlink(), MissingWeightsError, "has no model_index"),
    "no part": (lambda f: shutil.rmtree(f / "unet"), MissingWeightsError, "no subfolder unet"),
    "no file": (lambda f: (f / WEIGHTS).unlink(), MissingWeightsError, "no file conditioning/"),
    "one bit": (lambda f: flip(f / WEIGHTS), CorruptWeightsError, "has not the sha256"),
    "cut": (lambda f: cut(f / WEIGHTS), CorruptWeightsError, "has not the sha256"),
    "cut, no sums": (
        lambda f: [cut(f / WEIGHTS), (f / CHECKSUMS).unlink()],
        CorruptWeightsError,
        "cannot be loaded as an ARTVPipeline",
    ),
    "no file, no sums": (
        lambda f: [(f / WEIGHTS).unlink(), (f / CHECKSUMS).unlink()],
        CorruptWeightsError,
        "cannot be loaded as an ARTVPipeline",
    ),
    "a tensor less": (
        lambda f: [drop_tensor(f / WEIGHTS), (f / CHECKSUMS).unlink()],
        CorruptWeightsError,
        "lacks the tensor anchor_attention",
    ),
    "cut index": (lambda f: cut(f / INDEX), CorruptWeightsError, "is no JSON"),
    "list as index": (
        lambda f: (f / INDEX).write_text("[]"),
        CorruptWeightsError,
        "describes no pipeline",
    ),
    "cut sums": (lambda f: cut(f / CHECKSUMS, 0.99), MissingWeightsError, "has no file"),
    "no sums": (lambda f: (f / CHECKSUMS).write_text("hm"), CorruptWeightsError, "is damaged"),
    "sums elsewhere": (
        lambda f: (f / CHECKSUMS).write_text(f"{'0' * 64}  ../../etc/passwd\n"),
        CorruptWeightsError,
        "is damaged",
    ),
    "other pipeline": (
        lambda f: edit_index(f, _class_name="StableDiffusionPipeline"),
        CorruptWeightsError,
        "not an ARTVPipeline",
    ),
    "other class": (
        lambda f: edit_index(f, unet=["diffusers", "NoSuchUNet"]),
        CorruptWeightsError,
        "NoSuchUNet",
    ),
    "other library": (
        lambda f: edit_index(f, unet=["os", "system"]),
        CorruptWeightsError,
        "a part of os",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_one_sentence(damage: str, folder: Path) -> None:
    harm, error_class, words = DAMAGES[damage]
    harm(folder)
    with pytest.raises(error_class, match=words) as error:
        ARTVPipeline.from_pretrained(folder)
    assert type(error.value) is error_class
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["None.py", "unet/evil.py", "pipeline.py"])
def test_code_in_a_folder_is_refused_not_run(name: str, folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "evil-was-here"
    (folder / name).write_text(f"open({str(witness)!r}, 'w')\nclass ARTVPipeline: pass\n")
    with pytest.raises(CorruptWeightsError, match="Python code"):
        ARTVPipeline.from_pretrained(folder)
    assert not witness.exists()


def test_only_safetensors_are_written_and_read(folder: Path, tmp_path: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(folder, use_safetensors=False)
    with pytest.raises(UserError, match="safetensors only"):
        pipeline.save_pretrained(tmp_path / "x", safe_serialization=False)
    assert not (tmp_path / "x").exists()
    found = {p.suffix for p in folder.rglob("*") if p.is_file()}
    assert found == {".json", ".safetensors", ".txt", ".md"}


def test_a_change_of_ones_own_needs_the_checksums_gone(folder: Path) -> None:
    pipeline = ARTVPipeline.from_pretrained(folder)
    with torch.no_grad():
        pipeline.unet.conv_in.weight.mul_(2)
    pipeline.unet.save_pretrained(folder / "unet")
    with pytest.raises(CorruptWeightsError, match=r"or remove sha256\.txt"):
        ARTVPipeline.from_pretrained(folder)
    (folder / CHECKSUMS).unlink()
    assert generate(ARTVPipeline.from_pretrained(folder)).equal(generate(pipeline))


def test_saving_over_a_folder_renews_its_checksums(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = ARTVPipeline.from_pretrained(folder)
    with torch.no_grad():
        pipeline.unet.conv_in.weight.mul_(2)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lightning_artv.pipelines.stored.write_checksums", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pipeline.save_pretrained(folder)
    with pytest.raises(CorruptWeightsError):  # a mixture of old and new parts is noticed
        ARTVPipeline.from_pretrained(folder)
    pipeline.save_pretrained(folder)
    assert generate(ARTVPipeline.from_pretrained(folder)).equal(generate(pipeline))


def test_a_hub_id_is_fetched_whole_and_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by diffusers' download, which refuses parts of other packages."""
    asked: dict[str, Any] = {}

    def snapshot(hub_id: str, revision: str | None, allow_patterns: list[str], **_: Any) -> str:
        asked.update(hub_id=hub_id, revision=revision)
        names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        for name in set(names) - set(filter_repo_objects(names, allow_patterns=allow_patterns)):
            (folder / name).unlink()  # what would not be downloaded
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    pipeline = ARTVPipeline.from_pretrained("me/artv", revision="v1")
    assert asked == {"hub_id": "me/artv", "revision": "v1"}
    assert not (folder / "README.md").exists()  # so the patterns were applied
    assert generate(pipeline).equal(generate(ARTVPipeline.from_pretrained(folder)))
    (folder / "unet/config.json").unlink()
    with pytest.raises(MissingWeightsError, match=r"no file unet/config\.json"):
        ARTVPipeline.from_pretrained("me/artv")


def test_a_hub_id_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("no network\nat all")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(MissingWeightsError, match="me/artv is no folder here") as error:
        ARTVPipeline.from_pretrained("me/artv")
    assert "\n" not in str(error.value)
