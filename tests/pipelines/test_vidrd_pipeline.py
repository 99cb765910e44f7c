"""VidRD exported, loaded, exchanged with Stable Diffusion's pipelines, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from small_checkpoints import SMALL as ARTV_SMALL
from small_checkpoints import sd_config, write_checkpoint
from torch import Tensor, nn

from lightning_artv import ARTVPipeline, VidRDPipeline, cli, load_system
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import CorruptWeightsError, UserError
from lightning_artv.systems.base import Segment
from lightning_artv.systems.vidrd import VidRD

SIZE = (16, 16)
PARTS = {n: ARTV_SMALL["init_args"][n] for n in ("unet", "autoencoder", "text_encoder")}
SAMPLING = {"steps": 2, "prompt_frames": 2, "clip_latents": 1.0, "spacing": "trailing"}
SMALL = {
    "class_path": "lightning_artv.systems.vidrd.VidRD.build",
    "init_args": {
        **PARTS,
        "denoiser": {"clip_frames": 6, "prediction_type": "v_prediction", "schedule": "cosine"},
        "training": {"given_frames": 0.2, "most_given": 3},
        "sampling": SAMPLING,
    },
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("vidrd") / "small.ckpt", SMALL)


@pytest.fixture(scope="module")
def sd_checkpoint(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VidRD over a Stable Diffusion folder, its layers over time loud."""
    config = sd_config(sd_folder)
    config["class_path"] = SMALL["class_path"]
    return write_checkpoint(tmp_path_factory.mktemp("vidrd") / "sd.ckpt", config)


def export(checkpoint: Path, folder: Path) -> Path:
    assert cli.main(["export", "--checkpoint", str(checkpoint), "--output", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(checkpoint, tmp_path_factory.mktemp("exported") / "small")


@pytest.fixture(scope="module")
def sd_exported(sd_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(sd_checkpoint, tmp_path_factory.mktemp("exported") / "sd")


def video(system: VidRD, frames: int = 14, first: Tensor | None = None) -> Tensor:
    generators = [generators_for(5 + i, ["video"])[0] for i in range(2)]
    segments = [Segment(("a dog", "a cat"), frames)]
    return torch.stack(list(system.generate(segments, generators, SIZE, first)), dim=1)


def call(pipeline: VidRDPipeline, **options: object) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    given = {"num_frames": 14, "height": 16, "width": 16, "seed": 5, "output_type": "np"}
    made = pipeline(["a dog", "a cat"], **{**given, **options}).frames
    assert isinstance(made, np.ndarray)
    return (made * 255).round().astype(np.uint8).transpose(0, 1, 4, 2, 3)


@pytest.mark.parametrize("kind", ["small", "sd"])
def test_it_makes_the_frames_of_its_checkpoint_saved_and_loaded_too(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    names = ("checkpoint", "folder") if kind == "small" else ("sd_checkpoint", "sd_exported")
    checkpoint, exported = (request.getfixturevalue(name) for name in names)
    system = load_system(checkpoint).eval()
    assert isinstance(system, VidRD)
    expected = video(system).numpy()
    pipeline = VidRDPipeline.from_system(load_system(checkpoint))
    assert np.array_equal(call(pipeline), expected)
    loaded = VidRDPipeline.from_pretrained(exported)
    assert np.array_equal(call(loaded), expected)
    loaded.save_pretrained(tmp_path / "again")
    again = DiffusionPipeline.from_pretrained(tmp_path / "again")
    assert isinstance(again, VidRDPipeline)
    assert np.array_equal(call(again), expected)
    assert np.array_equal(call(VidRDPipeline(**again.components)), expected)
    assert np.array_equal(video(again.to_system()).numpy(), expected)


def test_the_callback_sees_every_step_and_changes_nothing(folder: Path) -> None:
    pipeline = VidRDPipeline.from_pretrained(folder)
    seen: list[tuple[int, int]] = []

    def look(pipe: VidRDPipeline, step: int, timestep: int, values: dict[str, object]) -> None:
        assert pipe is pipeline and 0 <= timestep < 1000 and set(values) == {"frame", "clean"}
        clean = values["clean"]
        assert isinstance(clean, Tensor) and clean.shape[:2] == (2, 6)
        seen.append((step, int(str(values["frame"]))))

    watched = call(pipeline, callback_on_step_end=look)
    assert np.array_equal(watched, call(pipeline))
    assert [step for step, _ in seen] == list(range(len(seen))) and len(seen) % 2 == 0
    assert [frame for _, frame in seen] == sorted(frame for _, frame in seen)


def test_a_compiled_unet_and_a_missing_part(folder: Path) -> None:
    pipeline = VidRDPipeline.from_pretrained(folder)
    expected = call(pipeline)
    pipeline.unet = torch.compile(pipeline.unet, backend="eager")
    assert np.abs(call(pipeline).astype(int) - expected.astype(int)).max() <= 1
    pipeline.scheduler = None
    with pytest.raises(UserError, match="no scheduler"):
        call(pipeline)


def test_generate_takes_the_folder_as_it_takes_the_checkpoint(
    checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    made = []
    for source, name in ((checkpoint, "a"), (folder, "b")):
        words = ["generate", "--checkpoint", str(source), "--prompt", "a dog", "--frames", "9"]
        words += ["--size", "16x16", "--device", "cpu", "--output", str(tmp_path / name)]
        assert cli.main([*words, "--set", "join=overlap"]) == 0
        made.append([path.read_bytes() for path in sorted((tmp_path / name).glob("*.png"))])
    assert made[0] == made[1] and len(made[0]) == 9


def test_all_that_a_checkpoint_says_is_in_the_folder(checkpoint: Path, folder: Path) -> None:
    system, stored = load_system(checkpoint), VidRDPipeline.from_pretrained(folder).to_system()
    assert isinstance(system, VidRD)
    assert stored.denoiser.clip_frames == 6 and stored.continues
    assert stored.training_options.most_given == 3
    assert stored.denoiser.prediction_type == "v_prediction"
    assert torch.equal(stored.denoiser.schedule.betas, system.denoiser.schedule.betas)
    expected = {**vars(system.sampling), "set_alpha_to_one": False}
    assert vars(stored.sampling) == expected
    assert (stored.origin.size, stored.origin.fps) == ((16, 24), 4)


def test_its_unet_is_stable_diffusions_again(sd_exported: Path, sd_folder: Path) -> None:
    theirs = StableDiffusionPipeline.from_pretrained(sd_folder, use_safetensors=True)
    exported = UNet2DConditionModel.from_pretrained(
        sd_exported, subfolder="unet", output_loading_info=True, use_safetensors=True
    )
    unet, info = exported
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert set(unet.state_dict()) == set(theirs.unet.state_dict())
    pipeline = VidRDPipeline.from_pretrained(sd_exported)
    theirs.unet = pipeline.unet
    before = call(pipeline)
    prompt = {"prompt": "a dog", "height": 16, "width": 16, "num_inference_steps": 2}
    theirs(**prompt, output_type="np")
    assert [n for n, _ in pipeline.unet.named_modules() if n.endswith("temporal")] == []
    assert np.array_equal(call(pipeline), before)


def test_a_picture_is_continued_and_settings_change_the_video(folder: Path) -> None:
    pipeline = VidRDPipeline.from_pretrained(folder)
    picture = np.full((16, 16, 3), 90, np.uint8)
    made = call(pipeline, image=picture)
    assert np.abs(made[:, 0].astype(int) - 90).max() <= 1
    assert (call(pipeline, settings={"join": "overlap"}) != call(pipeline)).any()
    assert (call(pipeline, guidance_scale=1, num_inference_steps=3) != call(pipeline)).any()


def test_the_card_says_what_it_is(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "# VidRD text-to-video" in card and "import VidRDPipeline" in card
    assert "ART" not in card.split("## Training")[0]


def test_a_folder_of_the_other_pipeline_is_one_sentence(folder: Path) -> None:
    with pytest.raises(CorruptWeightsError, match="describes a VidRDPipeline, not an ARTVPipeline"):
        ARTVPipeline.from_pretrained(folder)
    shipped = Path(__file__).parents[2] / "models" / "shapes"
    with pytest.raises(CorruptWeightsError, match="describes a ARTVPipeline, not an VidRDPipeline"):
        VidRDPipeline.from_pretrained(shipped)


def test_an_unknown_pipeline_and_a_missing_tensor_are_one_sentence(
    folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "sha256.txt").unlink()
    index = json.loads((other / "model_index.json").read_text())
    (other / "model_index.json").write_text(json.dumps({**index, "_class_name": "X"}))
    with pytest.raises(CorruptWeightsError, match="describes a X"):
        VidRDPipeline.from_pretrained(other)


def test_parts_that_do_not_fit_are_one_sentence(folder: Path, sd_exported: Path) -> None:
    pipeline = VidRDPipeline.from_pretrained(folder)
    pipeline.unet = VidRDPipeline.from_pretrained(sd_exported).unet
    with pytest.raises(UserError, match="does not fit the layers over time"):
        call(pipeline)
    with pytest.raises(UserError, match="output_type"):
        pipeline("a", output_type="gif")
    pipeline.temporal = None
    with pytest.raises(UserError, match="has no temporal"):
        call(pipeline)
    with pytest.raises(UserError, match="is no VidRD to export"):
        VidRDPipeline.from_system(nn.Identity())  # type: ignore[arg-type]
