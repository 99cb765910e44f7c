"""`lightning generate` and its Python twin, on a stub system's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stub_system import StubSystem

import lightning_artv
from lightning_artv import cli
from lightning_artv.checkpoints.file import embedded_config, load_system
from lightning_artv.checkpoints.instantiate import imported_paths, instantiate_system
from lightning_artv.errors import MissingWeightsError, UserError
from lightning_artv.generation import command as generate
from lightning_artv.generation.first_frame import FirstFrameModel
from lightning_artv.generation.options import build_parser, slug
from lightning_artv.generation.storyboard import Shot, read_prompts, read_storyboard
from lightning_artv.generation.videos import autocast, video_size
from lightning_artv.media import read_video
from lightning_artv.pipelines.composing import load_model
from lightning_artv.progress import Progress
from lightning_artv.systems.artv.flags import given_settings
from lightning_artv.systems.artv.settings import ARTVSampling, Guidance
from lightning_artv.systems.settings import with_settings

STUB = {"class_path": "stub_system.StubSystem", "init_args": {"width": 4}}


def write_checkpoint(path: Path, **changes: Any) -> Path:
    torch.manual_seed(0)
    system = StubSystem()
    config = embedded_config({"model": {"system": STUB}, "data": {"size": [16, 32], "fps": 4}})
    weights = {n: p.detach() for n, p in system.trainable_parameters().items()}
    checkpoint = {
        "state_dict": {f"system.{n}": p for n, p in weights.items()},
        "ema": {"updates": 1, "weights": {n: p + 1 for n, p in weights.items()}},
        "lightning_artv": config,
    }
    torch.save({**checkpoint, **changes}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint whose stub system the command line trusts."""

    def trusting(paths: list[str], weights: Any, device: Any) -> Any:
        return load_model(paths, weights, device, trusted_packages=["stub_system"])

    monkeypatch.setattr(generate, "load_model", trusting)
    return write_checkpoint(tmp_path / "stub.ckpt")


def run(checkpoint: Path, *arguments: object) -> int:
    return cli.main(["generate", "--checkpoint", str(checkpoint), *map(str, arguments)])


def test_mp4_has_the_frames_size_and_first_image_asked_for(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(tmp_path / "first.png")
    output = tmp_path / "new" / "x.mp4"
    arguments = ["--prompt", "p", "--image", tmp_path / "first.png", "--frames", 5]
    assert run(checkpoint, *arguments, "--output", output) == 0
    video = read_video(output)
    assert video.shape == (5, 16, 32, 3)
    assert abs(int(video[0].float().mean()) - 200) < 4
    out, err = capsys.readouterr()
    assert out.strip() == str(output)
    assert "frame 5/5" in err


def test_prompts_file_makes_one_video_each_and_resumes(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("A cat, running!\n\nanother\nthird\n")
    folder = tmp_path / "out"
    arguments = ["--prompts", tmp_path / "p.txt", "--frames", 2, "--output", folder]
    assert run(checkpoint, *arguments, "--batch-size", 2) == 0
    names = ["0000-a-cat-running.mp4", "0001-another.mp4", "0002-third.mp4"]
    assert sorted(path.name for path in folder.glob("*.mp4")) == names
    contents = {name: (folder / name).read_bytes() for name in names}
    (folder / names[1]).unlink()
    untouched = (folder / names[0]).stat().st_mtime_ns
    assert run(checkpoint, *arguments, "--batch-size", 1) == 0
    assert (folder / names[0]).stat().st_mtime_ns == untouched
    assert (folder / names[1]).read_bytes() == contents[names[1]]  # the same alone as in a batch
    assert contents[names[0]] != contents[names[1]]  # seeds differ


def test_storyboard_frames_add_up(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("- {prompt: a, frames: 3}\n- {prompt: b, frames: 2}\n")
    output = tmp_path / "x.gif"
    assert run(checkpoint, "--storyboard", tmp_path / "s.yaml", "--output", output) == 0
    assert Image.open(output).n_frames == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", "p", "--size", "15x32"], "15x32 is not divisible by 2"),
        (["--prompt", "p", "--size", "big"], "must be HEIGHTxWIDTH"),
        (["--prompt", "p", "--frames", "0"], "must be a whole number above 0"),
        (["--prompt", "p", "--image", "none.png"], "none.png"),
        (["--prompt", "p", "--guidance", "1,2"], "three numbers R,A,T"),
        (["--prompt", "p", "--guidance", "nan,0,0"], "--guidance: must be three numbers"),
        (["--prompt", "p", "--guidance-text", "inf"], "must be a finite number, got 'inf'"),
        (["--prompt", "p", "--fps", "nan"], "--fps: must be a finite number from 0.01 to 1000"),
        (["--prompt", "p", "--fps", "0"], "--fps: must be a finite number"),
        (["--prompt", "p", "--clip", "-1"], "--clip: must be a finite number from 1e-06"),
        (["--prompt", "p", "--noise-level", "-1"], "must be a whole number from 0, got '-1'"),
        (["--prompt", "p", "--seed", "1.5"], "--seed: must be a whole number, got '1.5'"),
        (["--prompt", "p", "--frames", "1" + "0" * 23], "from 1 to 100000"),
        (["--prompt", "p", "--frames", "\u0663"], "must be a whole number above 0"),
        (["--prompt", "p", "--steps", "\u00b2"], "must be a whole number above 0"),
        (["--prompt", " "], "--prompt is empty"),
        (["--prompt", "p", "--stepz", "3"], "--stepz"),
        (["--prompt", "p", "--device", "warp"], "no device 'warp'"),
        (["--prompt", "p", "--prompts", "f"], "not allowed with"),
        (["--prompts", "none.txt"], "must be a folder"),
        ([], "ne of the arguments --prompt --prompts --storyboard is required"),
    ],
)
def test_bad_options_are_one_sentence_and_leave_nothing(
    arguments: list[str],
    words: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = set(tmp_path.iterdir())
    assert run(checkpoint, *arguments, "--output", tmp_path / "x.mp4") == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ")
    assert words in message
    assert "\n" not in message
    assert set(tmp_path.iterdir()) == before


def test_an_image_that_is_none_is_one_sentence(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("text")
    output = tmp_path / "x.mp4"
    assert run(checkpoint, "--prompt", "p", "--image", bad, "--output", output) == 2
    assert "bad.png" in capsys.readouterr().err
    assert not output.exists()


def test_missing_first_frame_model_is_exit_3(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--prompt", "p", "--first-frame-model", tmp_path / "none"]
    assert run(checkpoint, *arguments, "--output", tmp_path / "x.mp4") == 3
    assert "text-to-image pipeline" in capsys.readouterr().err
    with pytest.raises(MissingWeightsError):
        FirstFrameModel(str(tmp_path / "none"), torch.device("cpu"))


def test_settings_replace_only_what_is_given() -> None:
    defaults = ARTVSampling(steps=7, guidance=Guidance(1.0, 2.0, 3.0), noise_level=9)
    base = ["--checkpoint", "c", "--prompt", "p", "--output", "o.mp4"]

    def made(*more: str) -> ARTVSampling:
        options = build_parser().parse_args([*base, *more])
        return with_settings(defaults, given_settings(options, options.changes))

    assert made() == defaults
    changed = made("--guidance", "0,0.5,6", "--guidance-text", "4", "--noise-level", "0")
    assert changed.guidance == Guidance(0.0, 0.5, 4.0)
    assert (changed.noise_level, changed.steps) == (0, 7)
    assert made("--sampler", "dpm-solver++", "--steps", "3").sampler == "dpm-solver++"
    assert made("--set", "guidance.text=7", "steps=4") == made("--guidance-text=7", "--steps=4")
    assert made("--steps", "3", "--set", "steps=4", "--set", "clip_latents=1").steps == 4


def test_three_lines_of_python(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.ckpt")
    system = lightning_artv.load_system(path, trusted_packages=["stub_system"])
    made = lightning_artv.generate_video(system, "a prompt", tmp_path / "x.gif", frames=3)
    with Image.open(made) as gif:
        assert (gif.n_frames, gif.size) == (3, (32, 16))
        assert gif.info["duration"] == 250  # the checkpoint's 4 fps


def test_weights_are_the_ones_asked_for(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.ckpt")
    raw = load_system(path, "raw", trusted_packages=["stub_system"])
    ema = load_system(path, "ema", trusted_packages=["stub_system"])
    torch.testing.assert_close(ema.net[0].weight, raw.net[0].weight + 1)


def test_checkpoints_that_cannot_be_used(tmp_path: Path) -> None:
    good = write_checkpoint(tmp_path / "good.ckpt")
    whole = good.read_bytes()
    truncated = [tmp_path / f"truncated{i}.ckpt" for i in range(4)]
    for path, length in zip(
        truncated, (0, len(whole) // 4, len(whole) // 2, len(whole) - 99), strict=True
    ):
        path.write_bytes(whole[:length])
    text = tmp_path / "text.ckpt"
    text.write_text("hello")
    plain = tmp_path / "plain.ckpt"
    torch.save({"state_dict": {}}, plain)
    other = {"system.net.0.weight": torch.zeros(9, 9), "system.new": torch.zeros(1)}
    cases = {
        tmp_path / "none.ckpt": "no checkpoint",
        **dict.fromkeys(truncated, "truncated"),
        text: "truncated",
        plain: "does not say which system",
        write_checkpoint(tmp_path / "noema.ckpt", ema=None): "EMA",
        write_checkpoint(tmp_path / "arch.ckpt", state_dict=other): "another architecture",
        write_checkpoint(tmp_path / "format.ckpt", lightning_artv={"format": 9}): "format 9",
    }
    for path, words in cases.items():
        with pytest.raises(UserError, match=words):
            load_system(path, trusted_packages=["stub_system"])


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("evil-was-here"),))


def test_a_checkpoint_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_checkpoint(tmp_path / "evil.ckpt", extra=Evil())
    with pytest.raises(UserError):
        load_system(path, trusted_packages=["stub_system"])
    assert not Path("evil-was-here").exists()


@pytest.mark.parametrize(
    "config",
    [
        STUB,
        {"class_path": "os.system", "init_args": {"command": "true"}},
        {"class_path": "lightning_artv_evil.System"},
        {"class_path": "lightning_artv.systems.artv.system.ARTV", "init_args": {"unet": "os.path"}},
    ],
)
def test_only_this_packages_classes_are_imported(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="only classes of lightning_artv"):
        instantiate_system(config)


def test_strings_that_are_no_modules_are_not_imports() -> None:
    config = {
        "class_path": "lightning_artv.X",
        "init_args": {"file": "model.safetensors", "n": 1},
    }
    assert list(imported_paths(config)) == ["lightning_artv.X"]


def test_a_config_of_another_version_is_one_sentence() -> None:
    with pytest.raises(UserError, match="cannot be built"):
        instantiate_system({**STUB, "init_args": {"no_such": 1}}, ["stub_system"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {prompt: a}", "segment 1 must have exactly the keys 'prompt' and 'frames'"),
        ("- {prompt: a, frames: 2}\n- {prompt: b, frames: 0}", "segment 2: 'frames'"),
        ("- {prompt: a, frames: true}", "'frames' must be a whole number"),
        ("- {prompt: 3, frames: 1}", "'prompt' must be text"),
        ("- {prompt: a, frames: 1, fps: 8}", "'fps'"),
        ("segment: []", "one key 'segments', got the keys 'segment'"),
        ("[]", "at least one"),
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("- {prompt: 2020-13-45, frames: 1}", "is not YAML"),
        ("- {prompt: 2020-12-15, frames: 1}", "'prompt' must be text"),
        ("- {prompt: a, frames: 1, prompt: b}", "the key 'prompt' is there twice"),
        ("- {prompt: ' ', frames: 1}", "segment 1: 'prompt' is empty"),
        ("- {prompt: a, frames: 100000000000000000000000}", "segment 1: A video needs"),
        ("- {prompt: a, frames: 60000}\n- {prompt: b, frames: 60000}", "from 1 to 100000"),
    ],
)
def test_storyboards_are_checked_strictly(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_storyboard(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_storyboard_and_prompts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("segments:\n- {prompt: a, frames: 2}\n- {prompt: '2020', frames: 1}\n")
    assert read_storyboard(path) == (Shot("a", 2), Shot("2020", 1))
    path.write_bytes(b"\xef\xbb\xbf- {prompt: a, frames: 2}\r\n")
    assert read_storyboard(path) == (Shot("a", 2),)
    lines = b"\xef\xbb\xbfone \r\n\r\n# a comment\r\n two\r\\#3 #4\n"
    (tmp_path / "p.txt").write_bytes(lines)
    assert read_prompts(tmp_path / "p.txt") == ("one", "two", "#3 #4")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        read_prompts(tmp_path / "empty.txt")


def test_sizes_names_precision_and_progress() -> None:
    with pytest.raises(UserError, match="does not say its frame size"):
        video_size(StubSystem(), None)
    assert video_size(StubSystem(), (4, 6)) == (4, 6)
    assert slug("Ünïcode & more " * 9).startswith("ünïcode-more") and len(slug("a " * 90)) <= 40
    assert (
        slug("日本, кот!") == "日本-кот" and slug("हिन्दी ٣") == "हिन्दी-٣" and slug("🙂?") == "video"
    )
    assert slug("U\u0308n") == "ün"
    with autocast(torch.device("cpu"), "bfloat16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "auto"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    progress = Progress(100)
    progress.done = 20
    assert progress.line(progress._start + 10) == "frame 20/100, 2.00 frames/s, 0:40 left"
    resumed = Progress(100, "step", start=60)
    resumed.done = 80
    assert resumed.line(resumed._start + 10) == "step 80/100, 2.00 steps/s, 0:10 left"


def test_a_prompt_of_bytes_that_are_no_utf8_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--checkpoint", "a.ckpt", "--prompt", "a\udcff", "--output", "a.mp4"]
    assert cli.main(["generate", *options]) == 2
    assert "--prompt holds bytes that are no UTF-8" in capsys.readouterr().err
