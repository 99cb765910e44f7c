"""What `lightning generate` leaves behind: records of what made a video, and unfinished videos."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from forks import ended
from PIL import Image
from stub_system import StubSystem
from test_generate import checkpoint, load_model, run, write_checkpoint  # noqa: F401

from evaluation.finding import find_videos
from lightning_artv import cli
from lightning_artv.checkpoints.file import load_system
from lightning_artv.errors import UserError
from lightning_artv.generation import command as generate
from lightning_artv.generation.made_by import difference, path_digest, system_digest
from lightning_artv.generation.videos import generate_video
from lightning_artv.media import open_writer, read_image, read_video

BASE = ["--frames", "2", "--batch-size", "1"]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "p.txt"
    path.write_text("a cat\nanother\n")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def colour(path: Path, value: int) -> Path:
    Image.fromarray(np.full((16, 32, 3), value, np.uint8)).save(path)
    return path


# what made a video


def test_a_record_says_all_that_makes_a_video(
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    prompts: Path,
) -> None:
    image = colour(tmp_path / "first.png", 9)
    arguments = ["--prompts", prompts, "--output", tmp_path / "out", "--seed", "5", *BASE]
    assert run(checkpoint, *arguments, "--image", image) == 0
    record = json.loads((tmp_path / "out" / "0001-another.mp4.json").read_text())
    assert record["shots"] == [{"prompt": "another", "frames": 2}]
    assert record["seed"] == 6
    assert record["sampling"]["steps"] == 3 and record["sampling"]["guidance"]["text"] == 6.5
    assert (record["size"], record["fps"]) == ([16, 32], 4.0)
    assert len(record["weights_sha256"]) == len(record["image_sha256"]) == 64
    assert (record["weights"], record["precision"]) == ("ema", "float32")


def test_equal_videos_are_skipped(
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    prompts: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--prompts", prompts, "--output", tmp_path / "out", *BASE]
    assert run(checkpoint, *arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    more = ["--batch-size", "2", "--steps", "3", "--size", "16x32", "--fps", "4"]
    assert run(checkpoint, *arguments, *more, "--overwrite") == 0  # as they are by default
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert "2 of 2 videos are there" in capsys.readouterr().err


OTHERS: dict[str, tuple[list[str], str]] = {
    "seed": (["--seed", "1"], "seed was 0, not 1"),
    "frames": (["--frames", "3"], "shots.0.frames was 2, not 3"),
    "size": (["--size", "16x16"], "size.1 was 32, not 16"),
    "fps": (["--fps", "5"], "fps was 4.0, not 5.0"),
    "steps": (["--steps", "4"], "sampling.steps was 3, not 4"),
    "sampler": (["--sampler", "dpm-solver++"], "sampling.sampler"),
    "guidance": (["--guidance-text", "2"], "sampling.guidance.text was 6.5, not 2.0"),
    "noise": (["--noise-level", "7"], "sampling.noise_level"),
    "clip": (["--clip", "1"], "sampling.clip_latents was null, not 1.0"),
    "anchor": (["--segment-anchor"], "sampling.segment_anchor"),
    "weights": (["--weights", "raw"], "another weights_sha256"),
    "precision": (["--precision", "bfloat16"], "precision"),
    "image": (["--image", "IMAGE"], "another image_sha256"),
    "checkpoint": (["--checkpoint", "OTHER"], "another weights_sha256"),
    "ending": (["--prompts", "OTHER PROMPTS"], "another shots.0.prompt"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_videos_that_were_made_otherwise_are_refused_or_made_anew(
    case: str,
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start = "a cat that runs over a long meadow and then "
    (tmp_path / "p.txt").write_text(f"{start}sleeps\n")
    (tmp_path / "q.txt").write_text(f"{start}jumps\n")
    arguments = ["--prompts", tmp_path / "p.txt", "--output", tmp_path / "out", *BASE]
    assert run(checkpoint, *arguments) == 0
    before = contents(tmp_path / "out")
    assert len(before) == 2
    given = {
        "IMAGE": str(colour(tmp_path / "first.png", 9)),
        "OTHER": str(write_checkpoint(tmp_path / "other.ckpt", ema=other_ema())),
        "OTHER PROMPTS": str(tmp_path / "q.txt"),
    }
    options, words = OTHERS[case]
    changed = [given.get(option, option) for option in options]
    assert run(checkpoint, *arguments, *changed) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert words in message and "--overwrite" in message
    assert contents(tmp_path / "out") == before
    assert run(checkpoint, *arguments, *changed, "--overwrite") == 0
    after = contents(tmp_path / "out")
    assert after.keys() == before.keys() and after != before
    assert run(checkpoint, *arguments, *changed) == 0  # now they are the ones asked for


def other_ema() -> dict[str, Any]:
    torch.manual_seed(0)
    parameters = StubSystem().trainable_parameters().items()
    return {"updates": 1, "weights": {name: p.detach() + 2 for name, p in parameters}}


@pytest.mark.parametrize("record", [None, "damaged", "[1, 2]", "[" * 100_000])
def test_a_video_of_unknown_origin_is_not_taken(
    record: str | None,
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    prompts: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--prompts", prompts, "--output", tmp_path / "out", *BASE]
    assert run(checkpoint, *arguments) == 0
    path = tmp_path / "out" / "0000-a-cat.mp4.json"
    path.unlink()
    if record is not None:
        path.write_text(record)
    assert run(checkpoint, *arguments) == 2
    assert "0000-a-cat.mp4" in capsys.readouterr().err
    assert run(checkpoint, *arguments, "--overwrite") == 0
    assert difference(path.with_suffix(""), json.loads(path.read_text())) is None


def test_a_record_is_never_beside_another_video(
    tmp_path: Path,
    checkpoint: Path,  # noqa: F811
) -> None:
    output = tmp_path / "x.mp4"
    assert run(checkpoint, "--prompt", "p", "--output", output, *BASE) == 0
    assert (tmp_path / "x.mp4.json").exists()
    generate_video(StubSystem(), "p", output, frames=2, size=(4, 4))  # tells no checkpoint
    assert not (tmp_path / "x.mp4.json").exists()


def test_digests_see_weights_and_configuration(tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        return system_digest(load_system(path, trusted_packages=["stub_system"]))

    first = digest(write_checkpoint(tmp_path / "a.ckpt"))
    assert digest(write_checkpoint(tmp_path / "b.ckpt", global_step=9)) == first
    assert digest(write_checkpoint(tmp_path / "c.ckpt", ema=other_ema())) != first
    stored = torch.load(tmp_path / "a.ckpt", weights_only=True)
    stored["lightning_artv"]["system"]["init_args"]["poison"] = "x"
    torch.save(stored, tmp_path / "d.ckpt")
    assert digest(tmp_path / "d.ckpt") != first
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="There is no file"):
        path_digest(tmp_path / "folder")
    (tmp_path / "folder" / "a").write_text("1")
    one = path_digest(tmp_path / "folder")
    (tmp_path / "folder" / "a").write_text("2")
    assert path_digest(tmp_path / "folder") != one


# unfinished videos


def at_frame(count: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have `act` called after `count` frames of each video."""
    real = StubSystem.generate

    def acting(*arguments: Any, **options: Any) -> Iterator[Any]:
        for index, frame in enumerate(real(*arguments, **options)):
            if index == count:
                act()
            yield frame

    monkeypatch.setattr(StubSystem, "generate", acting)


def fail(error: BaseException) -> NoReturn:
    raise error


def frames_of(path: Path) -> int:
    if path.is_dir():
        names = sorted(found.name for found in path.iterdir())
        assert names == [f"{index:05d}.png" for index in range(len(names))]
        return len([read_image(path / name) for name in names])
    return len(read_video(path))


def _killed_after_20_frames(path: Path, output: Path) -> None:
    real = StubSystem.generate

    def killed(*arguments: Any, **options: Any) -> Iterator[Any]:
        for index, frame in enumerate(real(*arguments, **options)):
            if index == 20:
                os.kill(os.getpid(), signal.SIGKILL)
            yield frame

    StubSystem.generate = killed  # type: ignore[method-assign]
    generate.load_model = lambda *of: load_model(*of, trusted_packages=["stub_system"])
    run(path, "--prompt", "p", "--frames", "64", "--output", output)


@pytest.mark.parametrize("name", ["x.mp4", "x.gif", "x"])
def test_a_killed_command_leaves_the_frames_that_were_made(name: str, tmp_path: Path) -> None:
    """kill -9 of 64 frames: all that were made are there, under a name that says so."""
    path, log = write_checkpoint(tmp_path / "stub.ckpt"), tmp_path / "log"
    done = ended(log, _killed_after_20_frames, path, tmp_path / name)
    assert done.code == -signal.SIGKILL, done.said
    kept = tmp_path / name.replace("x", "x.partial")
    locked = tmp_path / f".{name}.lock"  # left by the kill; who writes next takes it over
    assert set(tmp_path.iterdir()) - {locked, log} == {path, kept}
    assert frames_of(kept) == 20


@pytest.mark.parametrize("name", ["x.mp4", "x.gif", "x"])
def test_after_every_frame_all_of_them_can_be_played(name: str, tmp_path: Path) -> None:
    kept = tmp_path / name.replace("x", "x.partial")
    with open_writer(tmp_path / name, 12.5, (16, 32), keep_partial=True) as writer:
        for index in range(20):
            writer.write(np.full((16, 32, 3), 10 * index, np.uint8))
            assert frames_of(kept) == index + 1
            last = read_image(kept / f"{index:05d}.png") if name == "x" else read_video(kept)[-1]
            assert abs(float(last.float().mean()) - 10 * index) < 3
    assert frames_of(tmp_path / name) == 20


@pytest.mark.parametrize(
    ("act", "code", "last"),
    [
        (lambda: fail(KeyboardInterrupt()), 130, "error: Stopped by Ctrl-C"),
        (lambda: fail(UserError("stop here")), 2, "error: stop here"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, ""),
        (lambda: os.kill(os.getpid(), signal.SIGHUP), 129, ""),
    ],
)
@pytest.mark.parametrize("name", ["x.mp4", "x.gif", "x"])
def test_an_early_end_says_how_far_it_came(
    act: Callable[[], object],
    code: int,
    last: str,
    name: str,
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at_frame(9, monkeypatch, act)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # nohup, for one, lets SIGHUP be ignored
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    output = tmp_path / name
    kept = tmp_path / name.replace("x", "x.partial")
    try:
        found = run(checkpoint, "--prompt", "p", "--output", output)
    except SystemExit as error:
        found = error.code
    assert found == code
    error = capsys.readouterr().err
    assert f"9 of 16 frames of {output} are finished and kept in {kept}." in error
    assert error.splitlines()[-1].startswith(last)
    assert frames_of(kept) == 9 and not output.exists()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == handlers


def test_the_next_run_takes_the_place_of_an_unfinished_video(
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    prompts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["--prompts", prompts, "--frames", "3", "--output", tmp_path / "out"]
    with monkeypatch.context() as patched:
        patched.setattr(generate, "load_model", generate.load_model)
        at_frame(2, patched, lambda: fail(KeyboardInterrupt()))
        assert run(checkpoint, *arguments) == 130
    kept = ["0000-a-cat.partial.mp4", "0001-another.partial.mp4"]
    assert sorted(os.listdir(tmp_path / "out")) == kept
    said: list[str] = []
    with pytest.raises(UserError, match=r"holds no video, but unfinished videos"):
        find_videos(tmp_path / "out", said.append)
    assert run(checkpoint, *arguments) == 0
    names = ["0000-a-cat.mp4", "0000-a-cat.mp4.json", "0001-another.mp4", "0001-another.mp4.json"]
    assert sorted(os.listdir(tmp_path / "out")) == names


def test_an_end_before_the_first_frame_leaves_nothing(
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at_frame(0, monkeypatch, lambda: fail(UserError("stop here")))
    before = set(tmp_path.iterdir())
    for name in ("x.mp4", "x.gif", "x"):
        assert run(checkpoint, "--prompt", "p", "--output", tmp_path / name) == 2
    assert set(tmp_path.iterdir()) == before
    assert "kept" not in capsys.readouterr().err


def _on_a_full_disk(output: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
    try:
        with open_writer(output, 8, (64, 64), keep_partial=True) as writer:
            for frame in frames:
                writer.write(frame)
    except UserError:
        print(writer.frames)


@pytest.mark.parametrize("name", ["x.mp4", "x.gif"])
def test_a_full_disk_keeps_whole_frames(name: str, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: only some frames fit."""
    done = ended(tmp_path / "log", _on_a_full_disk, tmp_path / name)
    kept = tmp_path / name.replace("x", "x.partial")
    assert done.code == 0 and 0 < frames_of(kept) == int(done.said) < 60, done.said
    assert sorted(os.listdir(tmp_path)) == ["log", kept.name]


def test_the_command_line_still_stops_by_itself() -> None:
    assert cli.main(["generate", "--help-me"]) == 2
