"""Where a caption is: one rule for loader, latents, check and source; sets without any stop."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tars import CONTENTS, File, names, tar_bytes

from data_prep.__main__ import main
from data_prep.shards.latents import LatentOptions, write_latents
from data_prep.sources import list_source
from data_prep.sources.rows import VideoEntry
from lightning_artv.data.captions import BadCaption, caption_of
from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.tar import read_shard
from lightning_artv.errors import DataError
from lightning_artv.files import is_blank
from lightning_artv.networks.autoencoder import PixelUnshuffleAutoencoder
from lightning_artv.systems.artv.windows import NextFrame

CLIPS = ClipSettings(NextFrame(), (16, 16), None)
OPTIONS = LatentOptions("none", "0", (16, 16), None)
VIDEO = CONTENTS["mp4"][0]


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"txt": b"of txt", "json": b'{"caption": "of json"}'}, "of txt"),
        ({"txt": " a\r\n\tb\u00a0".encode()}, "a b"),
        ({"txt": b"\xef\xbb\xbfmarked"}, "marked"),
        ({"txt": "Hund".encode("utf-16")}, "Hund"),
        ({"json": b'{"caption": "of json", "text": "other"}'}, "of json"),
        ({"txt": b" \n", "json": b'{"caption": "of json"}'}, "of json"),
        ({"json": b'{"caption": "", "text": "a text"}'}, "a text"),
        ({"json": b'{"prompt": ["", "first", "second"]}'}, "first"),
        ({"json": b'{"description": "of it"}'}, "of it"),
    ],
)
def test_where_a_caption_is(files: dict[str, bytes], text: str) -> None:
    assert caption_of(files).text == text


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no .txt and no .json"),
        ({"txt": b" "}, "empty caption"),
        ({"json": b"{"}, "the .json is damaged"),
        ({"json": b"[" * 100_000}, "the .json is damaged"),
        ({"json": b'{"title": "x", "caption": 3}'}, "no text in the .json under caption, text"),
    ],
)
def test_why_there_is_none(files: dict[str, bytes], reason: str) -> None:
    caption = caption_of(files)
    assert caption.text == "" and reason in caption.reason


@pytest.mark.parametrize("files", [{"txt": b"\xff\xff"}, {"json": b'{"text": "\\ud83d"}'}])
def test_what_is_no_text_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(BadCaption, match="the caption is no"):
        caption_of(files)


@given(text=st.text().filter(lambda text: not is_blank(text) and "\0" not in text))
def test_any_text_comes_back_as_one_line_from_either_file(text: str) -> None:
    for files in ({"txt": text.encode()}, {"json": json.dumps({"caption": text}).encode()}):
        found = caption_of(files).text
        assert found == " ".join(text.lstrip("\ufeff").split()) or text.startswith("\ufeff")
        assert "\n" not in found


@given(data=st.binary())
def test_any_bytes_are_a_caption_none_or_refused(data: bytes) -> None:
    for name in ("txt", "json"):
        try:
            found = caption_of({name: data})
        except BadCaption as error:
            assert "\n" not in str(error)
        else:
            assert bool(found.text) != bool(found.reason)


def captions(shards: Path, out: Path) -> list[list[str]]:
    """Of loader, latents and source."""
    write_latents(shards, out, PixelUnshuffleAutoencoder(2), OPTIONS)
    loaded = [sample.caption for sample in ShardDataset(shards, CLIPS)]
    stored = [sample.caption for sample in ShardDataset(out, CLIPS)]
    listed = list(list_source("video2dataset", shards))
    return [loaded, stored, [e.caption for e in listed if isinstance(e, VideoEntry)]]


def test_every_reader_finds_the_caption_of_the_json(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    files = [*names("a.mp4", "a.json", "b.mp4", "b.txt"), File("c.mp4", VIDEO)]
    files.append(File("c.json", b'{"text": " of\\ntext "}'))
    (tmp_path / "in" / "00000.tar").write_bytes(tar_bytes(files))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            captions(tmp_path / "in", tmp_path / "out") == [["of json", "a caption", "of text"]] * 3
        )


def captionless(folder: Path, videos: int = 3) -> Path:
    folder.mkdir()
    files = [File(f"{n}.{end}", data) for n in range(videos)
             for end, data in (("mp4", VIDEO), ("json", b'{"title": "no caption"}'))]  # fmt: skip
    (folder / "00000.tar").write_bytes(tar_bytes(files))
    return folder


def test_a_set_without_any_caption_stops_with_a_sentence(tmp_path: Path) -> None:
    shards = captionless(tmp_path / "in")
    words = r"Not one of the samples has a caption \(00000.tar:0: no caption: there is no .txt"
    data = VideoDataModule(str(shards), str(shards), 16, windows=NextFrame(), num_workers=0)
    for call in (
        data.train_dataloader,
        data.val_dataloader,
        lambda: write_latents(shards, tmp_path / "out", PixelUnshuffleAutoencoder(2), OPTIONS),
        lambda: list(list_source("video2dataset", shards)),
    ):
        with pytest.raises(DataError, match=words) as raised:
            call()  # type: ignore[operator]
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_set_without_captions_is_used_where_that_is_asked_for(
    tmp_path: Path, sd_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = captionless(tmp_path / "in")
    data = VideoDataModule(
        str(shards),
        size=16,
        fps=None,
        windows=NextFrame(),
        batch_size=2,
        num_workers=0,
        need_captions=False,
    )
    with pytest.warns(UserWarning, match="A video without a caption"):
        assert next(iter(data.train_dataloader())).captions == ("", "")
    options = ["--pretrained", str(sd_folder), "--size", "32", "--all-frames", "--device", "cpu"]
    assert main(["latents", str(shards), str(tmp_path / "out"), *options]) == 5
    assert "give --without-captions" in capsys.readouterr().err
    assert (
        main(["latents", str(shards), str(tmp_path / "out"), *options, "--without-captions"]) == 0
    )
    assert "3 of them have no caption." in capsys.readouterr().out


def test_one_caption_is_enough_wherever_it_is(tmp_path: Path) -> None:
    shards = captionless(tmp_path / "in", videos=50)
    path = shards / "00000.tar"
    path.write_bytes(path.read_bytes() + tar_bytes(names("z.mp4", "z.txt")))
    assert len(ShardDataset(shards, CLIPS)) == 51 == len(list(read_shard(path)))
