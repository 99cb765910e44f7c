"""Published weight formats give the same network, and nothing in a file is ever run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from weight_files import (
    SMALL,
    random_state,
    with_part,
    write_c3d,
    write_i3d,
    write_inception,
    write_mean,
    write_torchscript,
)

from evaluation.archives import interpret, is_torchscript, read_tensors
from evaluation.features import load_c3d, load_clip, load_i3d, load_inception
from evaluation.features.c3d import C3D, no_mean
from evaluation.features.i3d import I3D
from lightning_artv.errors import CorruptWeightsError, MissingWeightsError
from lightning_artv.networks.pretrained import sha256_of


def stylegan_v_name(name: str) -> str:
    """piergiaj's name -> that of kinetics_i3d_pytorch."""
    branches = {"b0": "branch_0", "b3b": "branch_3.1"}
    branches |= {f"b{i}{ab}": f"branch_{i}.{'ab'.index(ab)}" for i in (1, 2) for ab in "ab"}
    parts = [branches.get(part, part) for part in name.split(".")]
    parts[0] = {"logits": "conv3d_0c_1x1"}.get(parts[0], parts[0][0].lower() + parts[0][1:])
    return ".".join("batch3d" if part == "bn" else part for part in parts)


def anonymous_names() -> Callable[[str], str]:
    """Names that say nothing but whose layers keep their order."""
    layers: dict[str, str] = {}

    def rename(name: str) -> str:
        layer, _, leaf = name.rpartition(".")
        return f"{layers.setdefault(layer, f'layer{len(layers)}')}.{leaf}"

    return rename


@pytest.fixture(scope="module")
def i3d_state() -> dict[str, Tensor]:
    return random_state(I3D(width=SMALL).network)


@pytest.fixture(scope="module")
def archive(i3d_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "stylegan_v.pt"
    return write_torchscript(path, {stylegan_v_name(k): v for k, v in i3d_state.items()})


def same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return state.keys() == expected.keys() and all(
        torch.equal(state[name], tensor) for name, tensor in expected.items()
    )


def test_names_of_the_archive_are_the_published_ones() -> None:
    renamed = {name: stylegan_v_name(name) for name in I3D(width=SMALL).network.state_dict()}
    assert renamed["Conv3d_1a_7x7.bn.running_var"] == "conv3d_1a_7x7.batch3d.running_var"
    assert renamed["Mixed_4c.b2a.conv3d.weight"] == "mixed_4c.branch_2.0.conv3d.weight"
    assert renamed["logits.conv3d.bias"] == "conv3d_0c_1x1.conv3d.bias"


def test_i3d_of_a_state_dict_and_of_an_archive(
    i3d_state: dict[str, Tensor], archive: Path, tmp_path: Path
) -> None:
    assert is_torchscript(archive)
    tats = write_i3d(tmp_path / "tats.pt")
    assert not is_torchscript(tats)
    for path in (archive, tats):
        network = load_i3d(path)
        assert same(network.network.state_dict(), i3d_state)
        assert network.name == "i3d@1/16" and network.digests == {path.name: sha256_of(path)}


@pytest.mark.parametrize(
    ("prefix", "under"),
    [
        ("module.", ""),
        ("", "state_dict"),
        ("module.", "state_dict"),
        ("module._orig_mod.model.", "model_state_dict"),
    ],
)
def test_a_training_scripts_state_dict_loads(
    i3d_state: dict[str, Tensor], tmp_path: Path, prefix: str, under: str
) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in i3d_state.items()}
    content = {"epoch": 3, under: state, "optimizer": {"lr": 0.1}} if under else state
    torch.save(content, tmp_path / "i.pt")
    assert same(load_i3d(tmp_path / "i.pt").network.state_dict(), i3d_state)
    save_file(state, tmp_path / "i.safetensors")
    assert same(load_i3d(tmp_path / "i.safetensors").network.state_dict(), i3d_state)


def test_what_holds_no_state_dict_is_said(tmp_path: Path) -> None:
    for content in ([torch.ones(1)], {"epoch": 3}, {"state_dict": {"epoch": 3}}):
        torch.save(content, tmp_path / "i.pt")
        with pytest.raises(CorruptWeightsError, match="holds no state dict"):
            load_i3d(tmp_path / "i.pt")
    (tmp_path / "i.safetensors").write_bytes(b"damaged")
    with pytest.raises(CorruptWeightsError, match=r"i\.safetensors is damaged"):
        load_i3d(tmp_path / "i.safetensors")


def test_i3d_of_an_archive_with_unknown_names_is_taken_in_order(
    i3d_state: dict[str, Tensor], tmp_path: Path
) -> None:
    rename = anonymous_names()
    path = write_torchscript(tmp_path / "x.pt", {rename(k): v for k, v in i3d_state.items()})
    assert same(load_i3d(path).network.state_dict(), i3d_state)


def test_known_names_matter_more_than_the_order(
    i3d_state: dict[str, Tensor], tmp_path: Path
) -> None:
    backwards = {stylegan_v_name(k): i3d_state[k] for k in reversed(list(i3d_state))}
    path = write_torchscript(tmp_path / "x.pt", backwards)
    assert same(load_i3d(path).network.state_dict(), i3d_state)


def test_i3d_of_an_archive_in_another_order_is_refused(
    i3d_state: dict[str, Tensor], tmp_path: Path
) -> None:
    rename = anonymous_names()
    stem = {k: v for k, v in i3d_state.items() if k.startswith("Conv3d_1a")}
    swapped = {k: i3d_state[k] for k in [*stem, *reversed(list(i3d_state))]}
    path = write_torchscript(tmp_path / "x.pt", {rename(k): v for k, v in swapped.items()})
    with pytest.raises(CorruptWeightsError, match="does not hold the layers of i3d"):
        load_i3d(path)


def test_c3d_of_the_npz_and_of_an_archive(tmp_path: Path) -> None:
    npz, mean = write_c3d(tmp_path / "c.npz"), write_mean(tmp_path / "m.npz")
    network = load_c3d(npz, mean)
    with np.load(npz) as arrays:
        assert {"conv1a/W", "conv5b/b", "fc6/W", "fc8/b"} <= set(arrays.files)
        assert np.array_equal(network.network.get_parameter("conv4b.weight"), arrays["conv4b/W"])
    # the port flips colours by a convolution and keeps the mean as a parameter of its own
    rename = anonymous_names()
    state = {"pre.weight": torch.zeros(3, 3, 1, 1, 1), "mean.bias": torch.zeros(3, 16, 112, 112)}
    state |= {rename(k): v for k, v in network.network.state_dict().items()}
    port = load_c3d(write_torchscript(tmp_path / "c.pt", state), mean)
    assert same(port.state_dict(), network.state_dict())
    assert set(port.digests) == {"c.pt", "m.npz"}


def test_a_mean_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", mean=np.zeros((3, 16, 112, 112), "f"))
    with pytest.raises(CorruptWeightsError, match=r"no mean clip of shape \(3, 16, 128, 171\)"):
        load_c3d(write_c3d(tmp_path / "c.npz"), tmp_path / "m.npz")


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    i3d, inception = write_i3d(tmp_path / "i.pt"), write_inception(tmp_path / "f.pth")
    mean = write_mean(tmp_path / "m.npz")
    for load in (lambda: load_i3d(inception), lambda: load_inception(i3d)):
        with pytest.raises(CorruptWeightsError, match="not a file of this network"):
            load()
    with pytest.raises(CorruptWeightsError, match="not a file of this network"):
        load_c3d(i3d, mean)


def test_optical_flow_weights_and_missing_layers_are_refused(
    i3d_state: dict[str, Tensor], tmp_path: Path
) -> None:
    flow = {**i3d_state, "Conv3d_1a_7x7.conv3d.weight": torch.zeros(4, 2, 7, 7, 7)}
    torch.save(flow, tmp_path / "flow.pt")
    with pytest.raises(CorruptWeightsError, match=r"shape \(4, 2, 7, 7, 7\)"):
        load_i3d(tmp_path / "flow.pt")
    partial = {k: v for k, v in i3d_state.items() if "Mixed_4d.b0" not in k}
    torch.save(partial, tmp_path / "partial.pt")
    with pytest.raises(CorruptWeightsError, match=r"Mixed_4d\.b0\.conv3d\.weight"):
        load_i3d(tmp_path / "partial.pt")


def payload_code(marker: Path) -> bytes:
    """Pickle opcodes that would call `os.system("touch marker")`."""
    command = f"touch {marker}".encode()
    return b"cos\nsystem\nX" + len(command).to_bytes(4, "little") + command + b"\x85R"


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        import os

        return os.system, (f"touch {self.marker}",)


def test_a_payload_in_a_state_dict_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"Conv3d_1a_7x7.conv3d.weight": Payload(marker)}, tmp_path / "i.pt")
    with pytest.raises(CorruptWeightsError, match="nothing in it was run") as raised:
        load_i3d(tmp_path / "i.pt")
    assert raised.value.exit_code == 4 and "\n" not in str(raised.value)
    assert not marker.exists()


def test_a_payload_in_an_npz_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    objects = np.array([Payload(marker)], dtype=object)
    np.savez(tmp_path / "c.npz", **{"conv1a/W": objects})
    with pytest.raises(CorruptWeightsError, match="nothing in it was run"):
        load_c3d(tmp_path / "c.npz", write_mean(tmp_path / "m.npz"))
    assert not marker.exists()


def test_a_payload_in_an_archive_stays_inert(
    archive: Path, i3d_state: dict[str, Tensor], tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    with zipfile.ZipFile(archive) as parts:
        name = next(n for n in parts.namelist() if n.endswith("data.pkl"))
        description = parts.read(name)
    # the call's result lies below the module on the stack, so that the archive is still complete
    crafted = description[:2] + payload_code(marker) + description[2:]
    path = tmp_path / "crafted.pt"
    path.write_bytes(archive.read_bytes())
    network = load_i3d(with_part(path, "/data.pkl", crafted))
    assert not marker.exists()
    assert same(network.network.state_dict(), i3d_state)


def test_the_program_of_an_archive_is_never_read(
    archive: Path, i3d_state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "no_program.pt"
    path.write_bytes(archive.read_bytes())
    with_part(path, ".py", b"this is no program")
    with pytest.raises(RuntimeError):
        torch.jit.load(str(path))
    assert same(load_i3d(path).network.state_dict(), i3d_state)


@pytest.mark.parametrize("opcode", [b"i", b"o", b"\x82\x01", b"\x81", b"R", b"b", b"u", b"e"])
def test_opcodes_without_a_place_in_weights_are_refused(opcode: bytes) -> None:
    argument = b"os\nsystem\n" if opcode == b"i" else b""
    with pytest.raises((ValueError, IndexError, AttributeError)):
        interpret(b"\x80\x02(" + opcode + argument + b".")


def test_only_what_has_a_name_can_be_called() -> None:
    with pytest.raises(ValueError, match="without a name"):
        interpret(b"\x80\x02N)R.")


def test_what_the_interpreter_reads_is_plain_data() -> None:
    import pickle

    data = {"a": [1, 2.5, None, True, "text"], "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))}
    data |= {"one": {"x": 1}, "c": {}, "d": [2**40, -3, 70_000], "e": ["text", "text"]}
    assert interpret(pickle.dumps(data, protocol=2)) == data


@pytest.fixture(scope="module")
def tiny_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.pt"
    return write_torchscript(
        path, {"a.weight": torch.arange(6.0).view(2, 3), "b.c.bias": torch.ones(2)}
    )


def test_tensors_of_an_archive_keep_names_values_and_strides(tiny_archive: Path) -> None:
    tensors = read_tensors(tiny_archive)
    assert list(tensors) == ["a.weight", "b.c.bias"]
    assert torch.equal(tensors["a.weight"], torch.arange(6.0).view(2, 3))
    assert torch.equal(tensors["b.c.bias"], torch.ones(2))


def test_tensors_may_share_bytes(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    state = {"a.weight": base[:6].view(3, 2).T, "b.weight": base[6:]}
    tensors = read_tensors(write_torchscript(tmp_path / "views.pt", state))
    assert all(torch.equal(tensors[name], tensor) for name, tensor in state.items())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_description_is_an_error_in_one_sentence(
    tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    with zipfile.ZipFile(tiny_archive) as parts:
        name = next(n for n in parts.namelist() if n.endswith("data.pkl"))
        description = bytearray(parts.read(name))
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(description) - 1))
        description[index] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(tiny_archive.read_bytes())
    with_part(path, "/data.pkl", bytes(description))
    try:
        tensors = read_tensors(path)
    except CorruptWeightsError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(tensor, Tensor) for tensor in tensors.values())


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["archive", "state dict", "npz"])
def test_a_truncated_file_is_an_error_in_one_sentence(
    tmp_path: Path, archive: Path, kind: str, kept: float
) -> None:
    whole = {
        "archive": lambda: archive,
        "state dict": lambda: write_i3d(tmp_path / "whole.pt"),
        "npz": lambda: write_c3d(tmp_path / "whole.npz"),
    }[kind]()
    data = whole.read_bytes()
    path = tmp_path / f"cut{whole.suffix}"
    path.write_bytes(data[: int(kept if kept >= 1 else kept * len(data))])
    with pytest.raises(CorruptWeightsError) as raised:
        load_c3d(path, write_mean(tmp_path / "m.npz")) if kind == "npz" else load_i3d(path)
    assert "\n" not in str(raised.value)


def test_inception_is_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr("pytorch_fid.inception.load_state_dict_from_url", download)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", download)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeightsError, match=re.escape("pt_inception-2015-12-05")):
        load_inception(folder=tmp_path)
    load_inception(write_inception(tmp_path / "small.pth"))


def test_missing_clip_weights_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError):
        load_clip(str(tmp_path / "absent"))


def test_full_size_names_carry_no_width() -> None:
    with torch.device("meta"):
        assert (I3D().name, C3D(no_mean()).name) == ("i3d", "c3d")


def test_a_file_is_told_by_its_content_not_by_its_name(archive: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "weights.pth"
    renamed.write_bytes(archive.read_bytes())
    assert load_i3d(renamed).size == 400
