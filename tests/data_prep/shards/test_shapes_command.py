"""`data_prep shapes`: exact, reproducible shards whose truth can be read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.__main__ import main
from data_prep.options import ShapesOptions
from data_prep.shards.shapes import write_shapes
from lightning_artv.data.decode import Video
from lightning_artv.data.tar import RawSample, read_shard
from lightning_artv.synthetic.scenes import Scene, scene_at
from lightning_artv.synthetic.torus import is_heldout
from lightning_artv.synthetic.worlds import World, world_at


def samples(out: Path) -> list[RawSample]:
    return [raw for path in sorted(out.glob("*.tar")) for raw in read_shard(path)]


def test_pixels_captions_and_scenes_are_the_truth(tmp_path: Path) -> None:
    options = ShapesOptions(count=5, seed=4, frames=8, shard_size=2)
    shards = write_shapes(tmp_path / "out", options)
    assert shards == [tmp_path / "out" / f"0000{n}.tar" for n in range(3)]
    for index, raw in enumerate(samples(tmp_path / "out")):
        scene = Scene.from_json(raw.files["json"])
        assert scene == scene_at(index, seed=4, frames=8)
        assert raw.files["txt"].decode() == scene.caption()
        with Video(raw.files["mp4"]) as video:
            assert video.fps == pytest.approx(8)
            frames = video.frames(range(8)).permute(0, 2, 3, 1).numpy()
        assert (frames == scene.video()).all()


def test_all_videos_may_have_one_color(tmp_path: Path) -> None:
    options = ["--count", "6", "--color", "orange", "--scenes", "torus", "--frames", "20"]
    assert main(["shapes", str(tmp_path / "out"), *options]) == 0
    scenes = [Scene.from_json(raw.files["json"]) for raw in samples(tmp_path / "out")]
    assert {scene.color for scene in scenes} == {"orange"}
    assert len({(scene.shape, scene.direction) for scene in scenes}) > 2


def test_worlds_are_the_truth_too(tmp_path: Path) -> None:
    options = ["--count", "3", "--seed", "4", "--frames", "20", "--scenes", "worlds"]
    assert main(["shapes", str(tmp_path / "out"), *options, "--split", "heldout"]) == 0
    for index, raw in enumerate(samples(tmp_path / "out")):
        world = World.from_dict(json.loads(raw.files["json"]))
        assert world == world_at(index, seed=4, split="heldout")
        assert raw.files["txt"].decode() == world.caption()
        with Video(raw.files["mp4"]) as video:
            frames = video.frames(range(20)).permute(0, 2, 3, 1).numpy()
        assert (frames == world.video(20)).all()


def test_plain_scenes_on_a_torus_are_any_number_of_frames_long(tmp_path: Path) -> None:
    options = ["--count", "3", "--seed", "4", "--frames", "48", "--scenes", "torus"]
    assert main(["shapes", str(tmp_path / "out"), *options]) == 0
    for index, raw in enumerate(samples(tmp_path / "out")):
        scene = Scene.from_json(raw.files["json"])
        assert scene == scene_at(index, seed=4, frames=None)
        assert raw.files["txt"].decode() == scene.caption()
        with Video(raw.files["mp4"]) as video:
            frames = video.frames(range(48)).permute(0, 2, 3, 1).numpy()
        assert (frames == scene.video(48)).all()


def test_the_command_is_reproducible_and_splits_are_disjoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        assert main(["shapes", str(tmp_path / name), "--count", "6", "--size", "16"]) == 0
    assert "Wrote 6 videos in 1 shard " in capsys.readouterr().out
    assert (tmp_path / "a/00000.tar").read_bytes() == (tmp_path / "b/00000.tar").read_bytes()
    options = ["--count", "6", "--size", "16", "--split", "heldout"]
    assert main(["shapes", str(tmp_path / "h"), *options]) == 0
    train, heldout = (
        {Scene.from_json(raw.files["json"]) for raw in samples(tmp_path / name)} for name in "ah"
    )
    assert not train & heldout
    assert all(map(is_heldout, heldout))
    keys = [raw.key for name in "ah" for raw in samples(tmp_path / name)]
    assert len(set(keys)) == 12


@pytest.mark.parametrize(
    "options",
    [
        ["--count", "0"],
        ["--count", "1", "--size", "8"],
        ["--count", "1", "--frames", "1"],
        ["--count", "1", "--fps", "0"],
        ["--count", "1", "--color", "mauve"],
        ["--count", "1", "--color", "orange", "--scenes", "worlds"],
    ],
)
def test_impossible_options_are_one_sentence(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shapes", str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.glob("out*"))
