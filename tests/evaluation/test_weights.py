"""Weight files are found and checked before anything is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from weight_files import write_c3d, write_i3d, write_inception, write_mean

from evaluation import weights
from evaluation.features import load_c3d, load_i3d, load_inception
from evaluation.weights import KNOWN, describe, locate
from lightning_artv.errors import CorruptWeightsError, MissingWeightsError

CONTENT = bytes(range(256)) * 16


@pytest.fixture(autouse=True)
def no_cache_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("ARTV_WEIGHTS", str(tmp_path / "weights"))


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, **changes: object) -> None:
    """Let a known file have other facts."""
    files = [dataclasses.replace(f, **changes) if f.name == name else f for f in KNOWN]  # type: ignore[arg-type]
    monkeypatch.setattr(weights, "KNOWN", tuple(files))


def test_the_published_facts() -> None:
    known = {file.name: file for file in KNOWN}
    i3d = known["i3d_torchscript.pt"]
    assert i3d.size == 51_235_320 and str(i3d.sha256).startswith("bec6519f66ea534e")
    # torch hub puts the first digits of the sha256 into a file's name
    inception = known["pt_inception-2015-12-05-6726825d.pth"]
    assert str(inception.sha256).startswith("6726825d")
    for file in KNOWN:
        assert file.address.startswith("https://") and file.name in file.address
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.git_blob is None or re.fullmatch("[0-9a-f]{40}", file.git_blob)


@pytest.mark.parametrize("network", ["i3d", "c3d", "c3d-mean", "inception"])
def test_missing_weights_say_what_to_download_and_where_to_put_it(
    tmp_path: Path, network: str
) -> None:
    with pytest.raises(MissingWeightsError) as raised:
        locate(network)
    message = str(raised.value)
    assert raised.value.exit_code == 3 and "\n" not in message
    assert str(tmp_path / "weights") in message
    for file in (file for file in KNOWN if file.network == network):
        assert file.name in message and file.address in message
        assert (f"{file.size:,} bytes" if file.size else "size unknown") in message
        assert (file.sha256 or file.git_blob or "sha256 unknown") in message


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=re.escape(f"There is no {tmp_path / 'a.pt'}")):
        locate("i3d", tmp_path / "a.pt")


def test_files_are_looked_for_in_the_folder_then_in_torchs_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "conv3d_deepnetA_ucf.npz"
    pretend(monkeypatch, name, sha256=None)
    cached = tmp_path / "torch" / "hub" / "checkpoints" / name
    for place in (cached, tmp_path / "weights" / name, tmp_path / "mine" / name):
        place.parent.mkdir(parents=True)
        place.write_bytes(CONTENT)
    assert locate("c3d", folder=tmp_path / "mine") == tmp_path / "mine" / name
    assert locate("c3d") == tmp_path / "weights" / name
    assert locate("c3d", folder=tmp_path / "empty") == cached
    assert locate("c3d", cached, folder=tmp_path / "mine") == cached


@settings(max_examples=50, deadline=None)
@given(index=st.integers(0, len(CONTENT) - 1), bit=st.integers(0, 7))
@pytest.mark.parametrize("fact", ["sha256", "git_blob"])
def test_any_flipped_bit_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, fact: str, index: int, bit: int
) -> None:
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    digest = {"sha256": hashlib.sha256(CONTENT).hexdigest(), "git_blob": blob}[fact]
    path = tmp_path_factory.getbasetemp() / "i3d_torchscript.pt"
    flipped = bytearray(CONTENT)
    flipped[index] ^= 1 << bit
    facts = {"size": None, "sha256": None, "git_blob": None, fact: digest}
    with pytest.MonkeyPatch.context() as monkeypatch:
        pretend(monkeypatch, path.name, **facts)
        path.write_bytes(CONTENT)
        assert locate("i3d", path) == path
        path.write_bytes(flipped)
        with pytest.raises(CorruptWeightsError, match="not loaded") as raised:
            locate("i3d", path)
    assert raised.value.exit_code == 4


def test_a_git_blob_is_what_git_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "i3d_pretrained_400.pt"
    path.write_bytes(CONTENT)
    command = ["git", "hash-object", str(path)]
    blob = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    pretend(monkeypatch, path.name, git_blob=blob)
    assert locate("i3d", path) == path


def test_a_file_of_another_size_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "i3d_torchscript.pt"
    path.write_bytes(CONTENT)
    with pytest.raises(CorruptWeightsError, match="4,096 bytes instead of 51,235,320"):
        locate("i3d", path)


@pytest.mark.parametrize("name", ["i3d_torchscript.pt", "i3d_pretrained_400.pt"])
def test_a_damaged_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def read(path: Path) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("evaluation.features.loading.read_tensors", read)
    write_i3d(tmp_path / name)
    with pytest.raises(CorruptWeightsError, match="not loaded"):
        load_i3d(tmp_path / name)
    with pytest.raises(AssertionError, match="was read"):
        load_i3d(write_i3d(tmp_path / "mine.pt"))


def test_a_given_sha256_is_checked_instead_of_the_known_one(tmp_path: Path) -> None:
    path = write_i3d(tmp_path / "i3d_torchscript.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_i3d(path, sha256=digest.upper()).digests == {path.name: digest}
    with pytest.raises(CorruptWeightsError, match=f"instead of {'0' * 64}"):
        load_i3d(path, sha256="0" * 64)


def test_without_a_digest_the_checksums_of_a_zip_are_verified(tmp_path: Path) -> None:
    path, mean = tmp_path / "conv3d_deepnetA_ucf.npz", write_mean(tmp_path / "mean2.npz")
    write_c3d(path)
    assert load_c3d(path, mean).name == "c3d@1/16"
    for file, arguments in ((path, (path, mean)), (mean, (path, mean))):
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        file.write_bytes(flipped)
        with pytest.raises(CorruptWeightsError, match="checksum"):
            load_c3d(*arguments)
        file.write_bytes(whole)
    load_c3d(path, mean)


def test_a_flipped_byte_of_a_state_dict_without_digest_is_noticed(tmp_path: Path) -> None:
    path = write_inception(tmp_path / "small.pth")
    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(CorruptWeightsError, match="checksum"):
        load_inception(path)


def test_the_table_says_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "i3d_torchscript.pt").write_bytes(CONTENT)
    (folder / "i3d_pretrained_400.pt").write_bytes(CONTENT)
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    pretend(monkeypatch, "i3d_pretrained_400.pt", git_blob=blob)
    np.savez(folder / "mean2.npz", mean=np.zeros(3))
    table = describe()
    assert "i3d_torchscript.pt (i3d): damaged" in table
    assert "i3d_pretrained_400.pt (i3d): present, verified" in table
    found = hashlib.sha256((folder / "mean2.npz").read_bytes()).hexdigest()
    assert f"mean2.npz (c3d-mean): present, {folder / 'mean2.npz'} has sha256 {found}" in table
    assert "pt_inception-2015-12-05-6726825d.pth (inception): missing" in table
    for file in KNOWN:
        assert file.address in table
    assert "openai/clip-vit-base-patch32" in table and "sha256 unknown" in table


def test_the_table_needs_no_torch() -> None:
    code = "import sys, evaluation.weights as w; w.describe(); print('torch' in sys.modules)"
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_folder_given_for_a_file_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "c3d_ucf101.pt").write_bytes(CONTENT)
    assert locate("c3d", tmp_path) == tmp_path / "c3d_ucf101.pt"
    (tmp_path / "c3d_ucf101.pt").rename(tmp_path / "c3d.pt")
    with pytest.raises(MissingWeightsError, match=r"No known file .* it holds c3d\.pt: download"):
        locate("c3d", tmp_path)
    with pytest.raises(MissingWeightsError, match=r"it holds c3d\.pt: download"):
        locate("c3d", folder=tmp_path)


@pytest.mark.parametrize("network", ["i3d", "inception"])
def test_safetensors_of_a_network_load_and_damage_is_said(tmp_path: Path, network: str) -> None:
    write, load = {"i3d": (write_i3d, load_i3d), "inception": (write_inception, load_inception)}[
        network
    ]
    state = torch.load(write(tmp_path / "weights.pt"), weights_only=True)
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    loaded = load(path).network.state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[k], state[k]) for k in state)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptWeightsError, match="is damaged") as raised:
        load(path)
    assert raised.value.exit_code == 4
