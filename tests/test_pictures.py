"""One picture in any form is one first frame: a path, an open image, an array, a tensor."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lightning_artv.errors import UserError
from lightning_artv.media import picture, read_image
from lightning_artv.pipelines.inputs import first_frames

SIZE = (8, 8)


def noise(*shape: int, top: int = 256, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, shape).astype(kind)


def with_orientation(number: int) -> Image.Image:
    image = Image.fromarray(noise(9, 12, 3))
    image.getexif()[0x0112] = number
    return image


def palette_with_transparency() -> Image.Image:
    image = Image.fromarray(noise(9, 12, 3)).quantize(16)
    image.info["transparency"] = bytes([0, 128, 255, 60])
    return image


PICTURES = {
    "rgb": Image.fromarray(noise(9, 12, 3)),
    "hidden colour": Image.fromarray(noise(9, 12, 4)),
    "grey": Image.fromarray(noise(9, 12)),
    "grey with opacity": Image.fromarray(noise(9, 12, 2)),
    "16 bit": Image.fromarray(noise(9, 12, top=65536, kind=np.uint16)),
    "palette": palette_with_transparency(),
    "black and white": Image.fromarray(noise(9, 12, top=2).astype(bool)),
    **{f"orientation {n}": with_orientation(n) for n in range(1, 9)},
}


@pytest.mark.parametrize("name", PICTURES)
def test_all_forms_of_a_picture_are_equal(name: str, tmp_path: Path) -> None:
    image = PICTURES[name]
    image.save(tmp_path / "a.png", exif=image.getexif())
    upright = picture(image)
    size = tuple(upright.shape[1:])
    with Image.open(tmp_path / "a.png") as opened:
        forms = [tmp_path / "a.png", str(tmp_path / "a.png"), opened, image]
        forms += [upright, upright.permute(1, 2, 0).numpy(), upright.float() / 255]
        if image.mode != "P" and "orientation" not in name:
            plain = np.asarray(image)
            chw = plain[None] if plain.ndim == 2 else plain.transpose(2, 0, 1)
            forms += [plain, torch.from_numpy(chw.copy())]
        for form in forms:
            assert torch.equal(picture(form), upright)
            small = first_frames(form, 2, SIZE)
            assert small is not None and small.shape == (2, 3, *SIZE)
            assert torch.equal(small[1], read_image(tmp_path / "a.png", SIZE))
    assert size == ((12, 9) if name[-1] in "5678" else (9, 12))


def test_the_rules_of_a_picture() -> None:
    clear_red = np.array([[[255, 0, 0, 0], [255, 0, 0, 51]]], np.uint8)
    assert picture(clear_red).tolist() == [[[255, 255]], [[255, 204]], [[255, 204]]]
    assert picture(np.array([[0, 255, 256, 65535]], np.uint16))[0].tolist() == [[0, 0, 1, 255]]
    assert picture(torch.tensor([[0.0, 0.5, 1.0]]))[2].tolist() == [[0, 128, 255]]
    assert picture(Image.new("CMYK", (1, 1), (0, 255, 255, 0)))[:, 0, 0].tolist() == [255, 0, 0]
    for straight, multiplied in (("RGBA", "RGBa"), ("LA", "La")):
        image = Image.fromarray(noise(9, 12, len(straight))).convert(multiplied)
        assert torch.equal(picture(image), picture(image.convert(straight)))
    turned = with_orientation(6)
    assert torch.equal(picture(turned), picture(turned.rotate(-90, expand=True)))


@pytest.mark.parametrize("kind", ["u2", "f2", "f4", "f8"])
def test_the_order_of_bytes_changes_nothing(kind: str) -> None:
    values = noise(9, 12, 3, top=65536, kind=np.uint16)
    values = values if kind == "u2" else (values / 65535).astype(kind)
    for order in "<>":
        assert torch.equal(picture(values.astype(order + kind)), picture(values))


def test_a_grey_of_16_bits_may_have_one_transparent_value(tmp_path: Path) -> None:
    grey = Image.fromarray(np.array([[300, 301, 65535]], np.uint16))
    grey.save(tmp_path / "a.png", transparency=300)
    assert read_image(tmp_path / "a.png")[0].tolist() == [[255, 1, 255]]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_spoil_a_good_picture(tmp_path: Path) -> None:
    broken = b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 900, 0x0112, 3, 1)
    for kind in ("PNG", "JPEG", "WEBP"):
        buffer = io.BytesIO()
        Image.fromarray(noise(9, 12, 3)).save(buffer, kind, exif=broken)
        (tmp_path / "a").write_bytes(buffer.getvalue())
        assert read_image(tmp_path / "a").shape == (3, 9, 12)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((4, 4, 5), np.uint8), "got the shape"),
        (np.zeros((0, 4, 3), np.uint8), "got the shape"),
        (torch.zeros(3, dtype=torch.uint8), "got the shape"),
        (np.zeros((4, 4, 3), np.int64), "got int64"),
        (np.full((4, 4, 3), -0.1), r"\[0, 1\]"),
        (torch.full((3, 4, 4), float("nan")), r"\[0, 1\]"),
        (np.full((4, 4, 3), 1.0000001), "from 1.0000001 to"),
        (torch.zeros(3, 4, 4, device="meta"), "on the device 'meta'"),
        (torch.zeros(3, 4, 4).to_sparse(), "torch.sparse_coo"),
        (Image.new("RGB", (0, 4)), "got 0x4"),
        (b"bytes", "got bytes"),
    ],
)
def test_what_is_no_picture_is_one_sentence(wrong: object, words: str) -> None:
    for take in (picture, lambda image: first_frames(image, 1, SIZE)):
        with pytest.raises(UserError, match=words) as error:
            take(wrong)
        assert "\n" not in str(error.value)


def test_a_picture_of_too_many_pixels_is_called_that(tmp_path: Path) -> None:
    Image.new("1", (20000, 20000)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"more than 178,956,970 pixels"):
        read_image(tmp_path / "a.png")


def test_one_picture_each_or_one_for_all() -> None:
    clips = noise(2, 9, 12, 3)
    each = first_frames(clips, 2, SIZE)
    again = first_frames(torch.from_numpy(clips).permute(0, 3, 1, 2), 2, SIZE)
    listed = first_frames([Image.fromarray(clip) for clip in clips], 2, SIZE)
    assert each is not None and again is not None and listed is not None
    assert torch.equal(each, again) and torch.equal(each, listed)
    with pytest.raises(UserError, match="2 first frames for 3 videos"):
        first_frames(clips, 3, SIZE)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(deadline=None)
@given(data=st.binary(max_size=200), kind=st.sampled_from(["PNG", "GIF", "TIFF", "BMP", "WEBP"]))
def test_any_damage_to_a_file_is_read_or_refused(
    data: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(5, 6, 3)).save(buffer, kind)
    whole = bytearray(buffer.getvalue())
    at = len(data) * 7 % len(whole)
    whole[at : at + len(data)] = data
    path = tmp_path_factory.mktemp("fuzz") / "a"
    path.write_bytes(whole)
    try:
        assert read_image(path).shape[0] == 3
    except UserError as error:
        assert "\n" not in str(error)
