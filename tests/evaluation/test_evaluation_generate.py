"""Generating a protocol's videos: modes, resuming, sharing out, manifests."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from miniature import write_checkpoint, write_ucf101
from PIL import Image

from evaluation import generate as module
from evaluation.finding import find_videos
from evaluation.generate import Generation, choose_devices, generate
from evaluation.manifest import differences, open_manifest
from evaluation.protocols import PRESETS
from evaluation.sets import read_folder, read_split, sampled
from evaluation.videos import ClipRule, pixel_hash, read_clip, read_first_frame
from lightning_artv.errors import MissingWeightsError, UserError
from lightning_artv.generation.made_by import path_digest
from lightning_artv.generation.storyboard import Shot

torch.set_num_threads(1)
PROTOCOL = PRESETS["ucf101-2048"].with_changes(["count=4", "frames=3", "resolution=16"])
CHEAP = (("steps", 1),)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ucf101(tmp_path_factory.mktemp("data"), ("Archery", "YoYo"), videos=2, frames=6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "last.ckpt")


@pytest.fixture
def job(data: Path, checkpoint: Path, tmp_path: Path) -> Generation:
    return Generation(PROTOCOL, checkpoint, data, tmp_path / "out", sampling=CHEAP)


def contents(folder: Path) -> dict[str, str]:
    return {
        video.name: pixel_hash(read_clip(video, ClipRule.fake(PROTOCOL)))
        for video in find_videos(folder)
    }


def test_videos_are_lossless_frames_with_prompts_and_a_manifest(job: Generation) -> None:
    generate(job, ["cpu"])
    videos = read_folder(job.out)
    assert [v.name for v in videos] == [
        "videos/00000-a-person-draws-a-bow-and-shoots-an-arrow",
        "videos/00001-a-person-does-tricks-with-a-yo-yo",
        "videos/00002-a-person-draws-a-bow-and-shoots-an-arrow",
        "videos/00003-a-person-does-tricks-with-a-yo-yo",
    ]
    assert videos[1].captions == ("A person does tricks with a yo-yo.",)
    assert sorted(p.name for p in videos[0].path.iterdir()) == [
        f"{i:05d}.png" for i in range(PROTOCOL.frames)
    ]
    manifest = json.loads((job.out / "manifest.json").read_text())
    assert manifest["protocol_hash"] == PROTOCOL.hash and manifest["mode"] == "none"
    assert len(manifest["checkpoint_sha256"]) == 64 and manifest["versions"]["torch"]
    assert manifest["sampling"] == {"steps": 1}
    assert len(set(contents(job.out).values())) == 4  # every seed its own video


def test_finished_videos_are_kept_and_others_do_not_depend_on_their_batch(job: Generation) -> None:
    generate(job, ["cpu"])
    before = contents(job.out)
    names = sorted(before)
    kept = job.out / names[0] / "00000.png"
    written = kept.stat().st_mtime_ns
    for name in names[1:]:
        for picture in (job.out / name).iterdir():
            picture.unlink()
        (job.out / name).rmdir()
    (job.out / f"{names[1]}.partial").mkdir()  # what kill -9 leaves
    (job.out / f"{names[1]}.partial" / "00000.png").touch()
    (job.out / "videos" / f".{Path(names[1]).name}.lock").touch()
    generate(dataclasses.replace(job, batch_size=1), ["cpu"])
    assert contents(job.out) == before
    assert kept.stat().st_mtime_ns == written
    assert not list((job.out / "videos").glob(".*"))
    assert sorted(f"videos/{path.name}" for path in (job.out / "videos").iterdir()) == names


def test_shares_change_no_video(job: Generation) -> None:
    generate(job, ["cpu"])
    shared = dataclasses.replace(job, out=job.out.with_name("shared"))
    samples = module.plan_samples(PROTOCOL, job.data)
    for share in range(3):
        module.make(shared, samples[share::3], "cpu")
    assert contents(shared.out) == contents(job.out)


def test_true_frames_are_those_of_the_real_clips(job: Generation) -> None:
    generate(dataclasses.replace(job, mode="true-frame"), ["cpu"])
    samples = module.plan_samples(PROTOCOL, job.data)
    chosen = sampled(PROTOCOL, read_split(PROTOCOL, job.data), PROTOCOL.real_count)
    for sample, video in zip(samples, find_videos(job.out), strict=True):
        made = read_clip(video, ClipRule.fake(PROTOCOL))
        assert sample.real in chosen
        true = read_first_frame(sample.real, ClipRule.real(PROTOCOL), (16, 16))
        assert torch.equal(made[0], true)


def test_text_to_image_draws_first_frames(job: Generation, sd_folder: Path) -> None:
    protocol = PROTOCOL.with_changes(["fake_count=1", "frames=2"])
    t2i = {"mode": "text-to-image", "first_frame_model": str(sd_folder)}
    drawn = dataclasses.replace(job, protocol=protocol, **t2i)
    generate(drawn, ["cpu"])
    samples = module.plan_samples(protocol, job.data)
    model = module.FirstFrameModel(str(sd_folder), torch.device("cpu"))
    (picture,) = model([samples[0].prompt], [0], (16, 16))
    (video,) = find_videos(drawn.out)
    assert torch.equal(read_clip(video, ClipRule.fake(protocol))[0], picture)


def test_text_to_image_without_a_model_is_missing_weights(job: Generation, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="--first-frame-model"):
        dataclasses.replace(job, mode="text-to-image")
    absent = dataclasses.replace(
        job, mode="text-to-image", first_frame_model=str(tmp_path / "none")
    )
    with pytest.raises(MissingWeightsError, match="no text-to-image pipeline"):
        generate(absent, ["cpu"])
    assert not list((job.out / "videos").glob("*"))


def test_other_first_frames_under_the_same_names_are_refused(
    job: Generation, sd_folder: Path, tmp_path: Path
) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    shutil.copytree(job.data, data)
    shutil.copytree(sd_folder, model)
    jobs = [
        dataclasses.replace(job, data=data, mode="true-frame", out=tmp_path / "true"),
        dataclasses.replace(
            job, mode="text-to-image", first_frame_model=str(model), out=tmp_path / "drawn"
        ),
    ]
    samples = module.plan_samples(PROTOCOL, job.data)
    before = [module._manifest(one, module.plan_samples(PROTOCOL, one.data), "cpu") for one in jobs]
    for one, manifest in zip(jobs, before, strict=True):
        open_manifest(one.out, manifest)
        open_manifest(one.out, module._manifest(one, samples, "cpu"))  # a copy elsewhere is equal
    real = next(path for path in data.rglob("*") if path.stem == Path(samples[0].real.name).name)
    for changed in (real, model / "unet" / "config.json"):
        changed.write_bytes(changed.read_bytes() + b" ")
    for one in jobs:
        with pytest.raises(UserError, match=r"other first_frames_sha256\)"):
            generate(one, ["cpu"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mode": "true-frame"}, "mode"),
        ({"sampling": (("steps", 2),)}, "sampling.steps"),
        ({"protocol": PROTOCOL.with_changes(["seed=1"])}, "protocol_hash, settings.seed"),
        ({"weights": "raw"}, "weights"),
    ],
)
def test_a_folder_with_another_manifest_is_refused(
    job: Generation, change: dict[str, object], field: str
) -> None:
    generate(job, ["cpu"])
    before = contents(job.out)
    with pytest.raises(UserError, match="videos of another run") as error:
        generate(dataclasses.replace(job, **change), ["cpu"])  # type: ignore[arg-type]
    assert field in str(error.value)
    assert contents(job.out) == before


def test_another_checkpoint_is_another_run(job: Generation, tmp_path: Path) -> None:
    generate(job, ["cpu"])
    other = write_checkpoint(tmp_path / "other.ckpt", seed=1)
    with pytest.raises(UserError, match=r"other checkpoint_sha256\)"):
        generate(dataclasses.replace(job, checkpoint=other), ["cpu"])
    with pytest.raises(UserError, match="no checkpoint"):
        generate(dataclasses.replace(job, checkpoint=tmp_path / "none.ckpt"), ["cpu"])


def test_a_sharded_checkpoint_is_known_by_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "meta").write_bytes(b"1")
    (tmp_path / "a" / "b" / "0").write_bytes(b"2")
    digest = path_digest(tmp_path / "a", "checkpoint")
    assert digest == path_digest(tmp_path / "a", "checkpoint")
    (tmp_path / "a" / "b" / "0").write_bytes(b"3")
    changed = path_digest(tmp_path / "a", "checkpoint")
    (tmp_path / "a" / "b" / "0").rename(tmp_path / "a" / "b" / "1")
    assert len({digest, changed, path_digest(tmp_path / "a", "checkpoint")}) == 3


def test_foreign_and_damaged_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "a" / "holiday.png")
    with pytest.raises(UserError, match=r"holds files but no manifest\.json"):
        open_manifest(tmp_path / "a", {"mode": "none"})
    open_manifest(tmp_path / "b", {"mode": "none"})
    open_manifest(tmp_path / "b", {"mode": "none"})
    (tmp_path / "b" / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        open_manifest(tmp_path / "b", {"mode": "none"})


def test_differences_are_named_in_full() -> None:
    one = {"a": 1, "b": {"c": [1], "d": None}, "e": 2}
    other = {"a": 1, "b": {"c": [2]}, "f": 3}
    assert differences(one, other) == ["b.c", "b.d", "e", "f"]
    assert differences(one, one) == []


def test_devices() -> None:
    assert choose_devices(1, "cpu") == ["cpu"]
    assert choose_devices(3, "cpu") == ["cpu"] * 3
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no device"):
            choose_devices(2, "cuda")


def test_requests_carry_the_protocols_frames_and_seeds(
    job: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        module, "generate_videos", lambda system, requests, *rest: seen.extend(requests)
    )
    protocol = PROTOCOL.with_changes(["seed=100"])
    generate(dataclasses.replace(job, protocol=protocol), ["cpu"])
    assert [request.seed for request in seen] == [100, 101, 102, 103]
    assert seen[0].shots == (Shot("A person draws a bow and shoots an arrow at a target.", 3),)
