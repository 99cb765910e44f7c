"""The flow network, the warp and the teacher, against others' code and by closed forms."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.optical_flow import raft_small

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError, UserError
from lightning_artv.networks.autoencoder import PixelUnshuffleAutoencoder
from lightning_artv.networks.flow import FlowNetwork, Motion, resize_flow, warp
from lightning_artv.networks.raft import RAFT


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 23), st.integers(5, 23), st.integers(0, 2**32))
def test_the_warp_is_opencvs(height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(1, 3, height, width, generator=generator)
    flow = 12 * torch.rand(1, 2, height, width, generator=generator) - 6
    flow = (flow * 32).round() / 32  # some versions of OpenCV round places so
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dx, dy = flow[0].numpy()
    image = picture[0].permute(1, 2, 0).numpy()
    border = cv2.BORDER_REPLICATE
    expected = cv2.remap(image, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=border)
    moved = warp(picture, flow)[0].permute(1, 2, 0).numpy()
    assert np.abs(moved - expected).max() <= 1e-3


def test_whole_pixels_are_moved_exactly() -> None:
    picture = torch.arange(2 * 3 * 6 * 7).reshape(2, 3, 6, 7).float()
    flow = torch.zeros(2, 2, 6, 7)
    flow[:, 0], flow[:, 1] = 2, -1
    moved = warp(picture, flow)
    torch.testing.assert_close(moved[:, :, 1:, :5], picture[:, :, :-1, 2:], rtol=0, atol=1e-4)
    torch.testing.assert_close(moved[:, :, 0, 5], picture[:, :, 0, 6], rtol=0, atol=1e-4)


@pytest.mark.parametrize("factor", [1 / 8, 1 / 2, 2, 4])
def test_a_flow_shrinks_with_its_picture(factor: float) -> None:
    flow = torch.tensor([3.0, -5.0]).view(1, 2, 1, 1).expand(1, 2, 16, 24)
    resized = resize_flow(flow, factor)
    assert resized.shape == (1, 2, 16 * factor, 24 * factor)
    torch.testing.assert_close(resized, factor * flow[..., :1, :1].expand_as(resized))


def test_both_ends_are_merged_by_their_shares() -> None:
    first, last = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    still = torch.zeros(1, 2, 2, 2)
    share = torch.tensor([[0.0, 0.25], [0.5, 1.0]])[None, None]
    assert torch.equal(Motion(still, still, share).between(first, last), 1 - share)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(16, 16), (9, 14), (1, 1)])
@pytest.mark.parametrize("levels", [1, 3])
def test_the_network_takes_any_size(channels: int, size: tuple[int, int], levels: int) -> None:
    network = FlowNetwork(channels, levels, width=8)
    first, last = torch.rand(2, 2, channels, *size)
    motion = network(first, last)
    assert motion.to_first.shape == motion.to_last.shape == (2, 2, *size)
    assert motion.share.shape == (2, 1, *size)
    motion.between(first, last).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    with pytest.raises(UserError, match=f"reads {channels} channels but was given 5"):
        network(torch.rand(1, 5, *size), torch.rand(1, 5, *size))


def test_a_pair_does_not_see_its_batch_mates() -> None:
    network = FlowNetwork(3, 3, width=8)
    first, last = torch.rand(2, 4, 3, 8, 8)
    alone = network(first[1:2], last[1:2]).to_first
    torch.testing.assert_close(network(first, last).to_first[1:2], alone, rtol=0, atol=1e-5)


def test_the_pyramid_sees_motion_of_many_pixels() -> None:
    """A bright dot that jumps by 6 pixels is followed once the network has learnt to."""
    torch.manual_seed(0)
    network = FlowNetwork(1, 4, width=8)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    errors = []
    for _ in range(60):
        corner = torch.randint(4, 16, (8, 2)).tolist()
        frames = torch.zeros(3, 8, 1, 24, 24)
        for frame in range(3):
            for row, (y, x) in enumerate(corner):
                frames[frame, row, 0, y : y + 4, x - 3 + 3 * frame : x + 1 + 3 * frame] = 1
        made = network(frames[0], frames[2]).between(frames[0], frames[2])
        loss = (made - frames[1]).abs().mean()
        errors.append(float(loss / ((frames[0] + frames[2]) / 2 - frames[1]).abs().mean()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert np.mean(errors[-5:]) < 0.5


def test_folded_pixels_lie_side_by_side_on_the_grid() -> None:
    autoencoder = PixelUnshuffleAutoencoder(2)
    pixels = torch.randint(0, 256, (2, 3, 8, 6), dtype=torch.uint8)
    pictures = autoencoder.to_grid(autoencoder.encode(pixels))
    assert (pictures.shape[1], pixels.shape[-1] // pictures.shape[-1]) == autoencoder.grid
    torch.testing.assert_close(pictures, pixels / 127.5 - 1)
    assert torch.equal(autoencoder.decode(autoencoder.from_grid(pictures)), pixels)


# The teacher


@pytest.fixture(scope="module")
def raft_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's small RAFT with random weights, as its file would be."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


def test_the_teacher_is_torchvisions(raft_weights: Path) -> None:
    network = raft_small(weights=None).eval()
    network.load_state_dict(torch.load(raft_weights, weights_only=True))
    one, other = torch.randint(0, 256, (2, 1, 3, 128, 136), dtype=torch.uint8)
    with torch.no_grad():
        expected = network(one / 127.5 - 1, other / 127.5 - 1)[-1]
    found = RAFT(str(raft_weights), model="small").flow(one, other)
    torch.testing.assert_close(found, expected)


def test_a_teacher_without_its_weights_is_one_sentence(raft_weights: Path) -> None:
    frames = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    with pytest.raises(MissingWeightsError, match="no weights of RAFT at nowhere"):
        RAFT("nowhere.pth").flow(frames, frames)
    with pytest.raises(CorruptWeightsError, match="has sha256"):
        RAFT(str(raft_weights), sha256="0" * 64, model="small").flow(frames, frames)
    with pytest.raises(CorruptWeightsError, match="does not hold raft_large"):
        RAFT(str(raft_weights), model="large").flow(frames, frames)
    with pytest.raises(UserError, match="at least 128 pixels divisible by 8, not 128x132"):
        wide = torch.zeros(1, 3, 128, 132, dtype=torch.uint8)
        RAFT(str(raft_weights), model="small").flow(wide, wide)
