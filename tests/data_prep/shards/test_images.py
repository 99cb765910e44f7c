"""Pictures as shards of videos: each is a row, and the bytes are always the same."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prep_videos import map_here, stops_after, tree

from data_prep import commands
from data_prep.__main__ import main
from data_prep.engine import map_rows
from data_prep.options import EngineOptions
from data_prep.options.images import ImageOptions
from data_prep.shards import check as check_module
from data_prep.shards import write as write_module
from data_prep.shards.check import check, check_and_repair
from data_prep.sources.pictures import open_picture
from data_prep.tables import read_rows
from lightning_artv.data.decode import Video
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.tar import read_shard
from lightning_artv.errors import UserError
from lightning_artv.systems.artv.windows import NextFrame

ENGINE = EngineOptions(processes=1)
SMALL = ImageOptions(size=32, samples=4)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_module, "map_rows", map_here)
    monkeypatch.setattr(check_module, "map_rows", map_here)


def photo(width: int = 80, height: int = 60, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(photo(), "JPEG", exif=exif, quality=95)


def transparent() -> bytes:
    image = photo().convert("RGBA")
    image.putpixel((3, 4), (0, 0, 0, 254))
    return saved(image, "PNG")


FILES: dict[str, Callable[[], bytes]] = {
    "plain.jpg": lambda: saved(photo(), "JPEG"),
    "plain.png": lambda: saved(photo(), "PNG"),
    "opaque.png": lambda: saved(photo().convert("RGBA"), "PNG"),
    "grey.webp": lambda: saved(photo().convert("L"), "WEBP"),
    "palette.gif": lambda: saved(photo().convert("P"), "GIF"),
    "turned.jpg": rotated,
    "ink.jpg": lambda: saved(photo().convert("CMYK"), "JPEG"),
    "empty.jpg": lambda: b"",
    "text.jpg": lambda: b"not a picture",
    "cut.jpg": lambda: saved(photo(), "JPEG")[:700],
    "cut.png": lambda: saved(photo(), "PNG")[:3000],
    "tiny.png": lambda: saved(photo(31, 200), "PNG"),
    "exact.png": lambda: saved(photo(32, 32), "PNG"),
    "glass.png": transparent,
    "hole.gif": lambda: saved(
        photo().convert("P"), "GIF", transparency=photo().convert("P").getpixel((0, 0))
    ),
    "film.gif": lambda: saved(photo(), "GIF", save_all=True, append_images=[photo(seed=1)]),
    "deep.tiff": lambda: saved(Image.fromarray(np.zeros((60, 80), np.float32)), "TIFF"),
}
BAD = {
    "empty": "empty_file",
    "text": "not_a_picture",
    "cut": "truncated",
    "cut%2Epng": "truncated",
    "tiny": "too_small",
    "exact": "too_small",
    "glass": "transparent",
    "hole": "transparent",
    "film": "animated",
    "deep": "odd_colours",
    "gone": "missing_file",
    "mute": "empty_caption",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "in"
    folder.mkdir()
    lines = ["file_name,text"]
    for name, make in FILES.items():
        (folder / name).write_bytes(make())
        lines.append(f"{name},a picture called {name}")
    (folder / "mute.png").write_bytes(saved(photo(), "PNG"))
    lines += ["gone.png,nobody has it", "mute.png,"]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_every_picture_is_a_row_and_what_is_wrong_has_a_reason(
    tmp_path: Path, source: Path
) -> None:
    said = commands.images(source, tmp_path / "out", SMALL, ENGINE)
    rows = {row["key"]: row for row in read_rows(tmp_path / "out" / "videos.parquet")}
    assert len(rows) == len(FILES) + 2
    assert {k: r["reason"] for k, r in rows.items() if r["outcome"] == "failed"} == BAD
    assert all(rows[key]["detail"] for key in BAD)
    assert said.startswith("19 images: 7 kept, 0 filtered, 12 failed")
    assert check(tmp_path / "out" / "train", ENGINE) == []


def test_videos_can_be_trained_on(tmp_path: Path, source: Path) -> None:
    commands.images(source, tmp_path / "out", SMALL, ENGINE)
    clips = ClipSettings(NextFrame(), (32, 32), 8.0)
    found = {s.key: s for s in ShardDataset(tmp_path / "out" / "train", clips)}
    assert len(found) == 7 and found["turned"].caption == "a picture called turned.jpg"
    raws = [raw for tar in (tmp_path / "out" / "train").glob("*.tar") for raw in read_shard(tar)]
    facts = {raw.key: json.loads(raw.files["json"]) for raw in raws}
    assert facts["turned"]["repaired"] == ["turned upright (EXIF orientation 6)"]
    assert facts["ink"]["repaired"] == ["converted from CMYK"]
    assert facts["plain"]["repaired"] == []
    for raw in raws:
        (left, top, right, bottom), _ = facts[raw.key]["boxes"]
        assert 0 <= left < right <= 80 and 0 <= top < bottom <= 80
        with Video(raw.files["mp4"]) as video:
            frames = video.frames(range(len(video.timestamps)))
            assert video.timestamps == pytest.approx([k / 8 for k in range(16)])
        assert frames.shape == (16, 3, 32, 32)
        changes = (frames[1:].float() - frames[:-1].float()).abs().mean((1, 2, 3))
        assert changes.min() > 0


def test_turned_and_inked_pictures_look_like_the_plain_one(source: Path) -> None:
    plain = np.asarray(photo()).astype(float)
    turned, _ = open_picture(str(source / "turned.jpg")).load()
    assert turned.size == (60, 80)
    assert np.abs(np.asarray(turned) - np.rot90(plain, -1)).mean() < 4
    ink, _ = open_picture(str(source / "ink.jpg")).load()
    assert np.abs(np.asarray(ink) - plain).mean() < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_shrunk_picture_is_the_same_picture(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    big = photo(643, 481)
    big.save(tmp_path / "a", kind, exif=exif)
    whole, one = open_picture(str(tmp_path / "a")).load()
    small, factor = open_picture(str(tmp_path / "a")).load(6)
    assert (one, factor) == (1, 4 if kind == "JPEG" else 6)  # a JPEG's decoder does powers of 2
    wanted = np.asarray(whole.reduce(int(factor))).astype(float)
    assert np.abs(np.asarray(small) - wanted).mean() < 4


def test_the_bytes_are_those_of_the_key_and_the_seed(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.images(source, tmp_path / "a", SMALL, ENGINE)
    with monkeypatch.context() as patch:
        patch.setattr(write_module, "map_rows", map_rows)
        commands.images(source, tmp_path / "b", SMALL, EngineOptions(processes=2))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    commands.images(source, tmp_path / "c", ImageOptions(size=32, samples=4, seed=1), ENGINE)
    one, other = (read_rows(tmp_path / n / "train" / "00000.parquet")[0] for n in "ac")
    assert one["key"] == other["key"] and one["size_bytes"] != other["size_bytes"]


def test_a_killed_run_goes_on_and_broken_shards_are_made_again(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.images(source, tmp_path / "whole", SMALL, ENGINE)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(write_module, "map_rows", stops_after(6))
        commands.images(source, tmp_path / "out", SMALL, ENGINE)
    assert len(list((tmp_path / "out" / "train").glob("*.tar"))) == 1
    commands.images(source, tmp_path / "out", SMALL, ENGINE)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")

    tar = tmp_path / "out" / "train" / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    check_and_repair(tmp_path / "out" / "train", ENGINE, False, tmp_path / "out/selected.parquet")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_set_made_with_other_options_is_not_mixed(tmp_path: Path, source: Path) -> None:
    commands.images(source, tmp_path / "out", SMALL, ENGINE)
    with pytest.raises(UserError, match=r"another seed \(0, not 1\); add --overwrite"):
        commands.images(source, tmp_path / "out", ImageOptions(size=32, samples=4, seed=1), ENGINE)


def test_a_share_is_held_out(tmp_path: Path, source: Path) -> None:
    commands.images(source, tmp_path / "out", SMALL, ENGINE, held_out=0.5)
    train, held = (
        {
            row["key"]
            for path in (tmp_path / "out" / name).glob("*.parquet")
            for row in read_rows(path)
        }
        for name in ("train", "held_out")
    )
    assert train and held and not train & held


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--zoom 0.5", "--zoom must be a finite number from 1 to 100, got 0.5."),
        ("--zoom nan", "--zoom must be a finite number from 1 to 100, got nan."),
        ("--seconds 0.1", "--seconds 0.1 at --fps 8 is 1 frames; choose 2 to 1000."),
        ("--seconds inf", "--seconds must be a finite number from 0, got inf."),
        ("--fps nan", "--fps must be positive, got nan."),
        ("--speed 3:2", "--speed is LOW:HIGH with 0 < LOW <= HIGH, got 3:2."),
        ("--speed 0:2", "--speed is LOW:HIGH with 0 < LOW <= HIGH, got 0:2."),
        ("--speed nan:2", "--speed is LOW:HIGH with 0 < LOW <= HIGH, got nan:2."),
        ("--size 8", "--size must be at least 16 pixels, got 8."),
        ("--aspect 0", "--aspect must be a finite number from 0.1 to 10, got 0.0."),
        ("--held-out 1", "held_out must be at least 0 and below 1, got 1.0."),
    ],
)
def test_impossible_options_are_one_sentence(
    tmp_path: Path, source: Path, line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["images", str(source), str(tmp_path / "out"), *line.split()]) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"
    assert not (tmp_path / "out" / "train").exists()
