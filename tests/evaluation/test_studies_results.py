"""TensorBoard's files hold what was measured; pictures and charts show it."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from study_results import SHOWN, SIDE, STEPS, T_TEST, write_results
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from evaluation.__main__ import main
from evaluation.shapes.metrics_table import METRICS
from evaluation.studies import figures
from evaluation.studies.artv.masks import mask_of, mask_pictures
from evaluation.studies.board import HPARAM_METRICS
from evaluation.studies.command import write
from evaluation.studies.grid import Grid, read_grid, read_run
from evaluation.studies.pictures import STRIP_FRAMES, side_by_side
from lightning_artv.errors import UserError

VARIANTS = ("full", "no_mask", "no_noise_augmentation")
NOISY = "no_noise_augmentation"
FRAMES = 32


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid whose results were written twice, with one result missing."""
    folder = tmp_path_factory.mktemp("grid")
    write_results(
        folder, {"no_mask": {"FVD": 9.0}}, (0, 1), VARIANTS, long_frames=FRAMES, noisy=NOISY
    )
    shutil.rmtree(folder / "runs" / "no_mask" / "seed1" / "benchmark")
    for _ in range(2):
        write(folder)
    return folder


@pytest.fixture(scope="module")
def grid(out: Path) -> Grid:
    return read_grid(out)


def log(out: Path, run: str) -> EventAccumulator:
    everything = {"scalars": 0, "images": 0, "tensors": 0, "histograms": 0}
    accumulator = EventAccumulator(str(out / "tensorboard" / run), size_guidance=everything)
    return accumulator.Reload()


def test_runs_are_variants_and_seeds_and_written_once(out: Path) -> None:
    runs = {str(p.parent.relative_to(out / "tensorboard")) for p in out.rglob("events.out*")}
    kept = {f"{v}/seed{s}" for v in VARIANTS for s in (0, 1)} - {"no_mask/seed1"}
    assert runs == {".", *VARIANTS, *kept}
    assert len(list(out.rglob("events.out*"))) == len(runs)
    assert not [p for p in out.iterdir() if p.name.startswith(".tensorboard")]


def test_curves_and_metrics_are_scalars_by_frame(out: Path, grid: Grid) -> None:
    found = grid.variants["full"][1]
    events = log(out, "full/seed1")
    line = events.Scalars("curves/background_psnr")
    assert [e.step for e in line] == list(range(1, FRAMES))  # frame 0 is given
    assert [e.value for e in line] == pytest.approx(found.curves["background_psnr"][1:].tolist())
    assert [e.step for e in events.Scalars("curves/direction")] == [0, 16]
    for name, value in found.metrics.items():
        assert [e.value for e in events.Scalars(f"metrics/{name}")] == [pytest.approx(value)]
    means = log(out, "full").Scalars("metrics/FVD")
    each = [grid.variants["full"][seed].metrics["FVD"] for seed in (0, 1)]
    assert means[0].value == pytest.approx(np.mean(each)) and len(means) == 1


def test_hparams_have_one_session_a_run_with_settings_and_metrics(out: Path, grid: Grid) -> None:
    for run, expected in {
        "full/seed0": {"mask": "yes", "static_noise": "posterior", "T_max": 20, "seed": 0},
        "full/seed1": {"anchor": "yes", "anchor_window": 10, "mask_channels": "all", "seed": 1},
        "no_mask/seed0": {"mask": "no", "static_noise": "none", "reference_noise": 0.1},
        "no_noise_augmentation/seed1": {"T_max": 0, "mask": "yes"},
    }.items():
        content = log(out, run).PluginTagToContent("hparams")
        assert len(content) == 3
        data = {tag: HParamsPluginData.FromString(raw) for tag, raw in content.items()}
        start = data["_hparams_/session_start_info"].session_start_info.hparams
        values = {k: v.string_value or v.number_value for k, v in start.items()}
        assert len(values) == 9 and expected.items() <= values.items()
        metrics = data["_hparams_/experiment"].experiment.metric_infos
        names = [m.name.tag for m in metrics]
        assert names == [f"metrics/{m}" for m in HPARAM_METRICS]
        assert set(names) <= set(log(out, run).Tags()["scalars"])
    for run in (".", *VARIANTS):
        assert "_hparams_/session_start_info" not in log(out, run).Tags()["tensors"]
        with pytest.raises(KeyError):
            log(out, run).PluginTagToContent("hparams")


def test_the_layout_finds_the_curves_of_all_variants(out: Path) -> None:
    (event,) = log(out, ".").Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    patterns = [tag for c in layout.category for chart in c.chart for tag in chart.multiline.tag]
    tags = log(out, NOISY).Tags()["scalars"]
    assert len(patterns) == len(set(patterns)) >= 12
    for pattern in patterns:
        assert len([tag for tag in tags if re.match(pattern, tag)]) == 1, pattern
    assert "^curves/background_psnr$" in patterns and "^mask/mean$" in patterns


def test_the_mask_is_a_curve_and_a_distribution_by_step(out: Path, grid: Grid) -> None:
    mask = mask_of(grid.variants["full"][0])
    assert mask is not None
    events = log(out, "full/seed0")
    assert [e.value for e in events.Scalars("mask/mean")] == pytest.approx(mask["mean"].tolist())
    histograms = events.Histograms("mask/values")
    assert [h.step for h in histograms] == list(range(STEPS))
    for step, histogram in enumerate(histograms):
        value = histogram.histogram_value
        assert sum(value.bucket) == mask["histogram"][step].sum()
        assert value.sum / value.num == pytest.approx(mask["mean"][step], abs=0.05)
    assert "mask/mean" not in log(out, "no_mask/seed0").Tags()["scalars"]
    assert "mask/mean" not in log(out, "no_mask").Tags()["scalars"]


def test_t_test_is_the_step_of_its_curves(out: Path, grid: Grid) -> None:
    for run, seeds in {NOISY: (0, 1), f"{NOISY}/seed1": (1,)}.items():
        for metric in ("FVD", "IS"):
            events = log(out, run).Scalars(f"t_test/{metric}")
            assert [e.step for e in events] == list(T_TEST)
            expected = [
                np.mean([grid.sweeps["t_test"][v][s].metrics[metric] for s in seeds])
                for v in T_TEST
            ]
            assert [e.value for e in events] == pytest.approx(expected)
    assert "t_test/FVD" not in log(out, "full").Tags()["scalars"]


def test_the_figures_are_pictures(out: Path) -> None:
    root = log(out, ".")
    tags = set(root.Tags()["images"])
    assert {f"fig8a/{m}" for m in figures.BAR_METRICS} <= tags
    assert {f"fig8b/{m}" for m in ("FVD", "IS")} <= tags
    assert {"fig4/full", "drift/background_psnr", "fig10/clips", "fig10/frames"} <= tags
    assert "fig4/no_mask" not in tags and "guidance/text/direction@16" in tags
    (clips,) = root.Images("fig10/clips")
    animation = Image.open(io.BytesIO(clips.encoded_image_string))
    assert animation.format == "GIF" and animation.n_frames == FRAMES
    assert (clips.width, clips.height) == animation.size
    assert "fig9/masks" in log(out, "full").Tags()["images"]


def test_clips_are_rows_of_one_seed_with_the_truth_first(grid: Grid) -> None:
    clips = side_by_side(grid)
    assert clips is not None and clips.seed == 0
    titles = [grid.titles[v] for v in VARIANTS]
    assert clips.names == ("truth", *titles)
    samples = grid.variants["no_mask"][0].samples()
    sheet = clips.sheet(frames=FRAMES)
    pitch = SIDE + 2
    assert sheet.shape == (FRAMES, 4 * pitch - 2, SHOWN * pitch - 2, 3)
    for clip in range(SHOWN):
        cell = sheet[:, 2 * pitch : 2 * pitch + SIDE, clip * pitch : clip * pitch + SIDE]
        assert np.array_equal(cell, samples["generated"][clip])
    few = clips.sheet(frames=3, scale=2)
    assert few.shape == (3, *(2 * n for n in sheet.shape[1:3]), 3)
    assert np.array_equal(few[-1, ::2, ::2], sheet[-1])
    wide = clips.sheet(frames=2, labels=True)
    assert np.array_equal(wide[0, :, -sheet.shape[2] :], sheet[0])
    assert (wide[0, :, : -sheet.shape[2]] < 128).any()
    strip = clips.strip(clip=1)
    frames = [f for f in STRIP_FRAMES if f < FRAMES]
    assert clips.strip_frames == tuple(frames)
    last = (len(frames) - 1) * pitch
    assert np.array_equal(strip[:SIDE, last : last + SIDE], samples["truth"][1, frames[-1]])


def test_mask_pictures_are_white_where_the_mask_is_one(grid: Grid) -> None:
    pictures = mask_pictures(grid)
    assert set(pictures) == {"full", "no_noise_augmentation"}
    masks = grid.variants["full"][0].samples()["masks"]
    picture = pictures["full"]
    assert picture.shape == (SHOWN * (SIDE + 2), STEPS * (SIDE + 2), 3)
    inner = picture[SIDE + 3 : 2 * SIDE + 3, 2 * (SIDE + 2) + 1 :][:, :SIDE, 0]
    assert np.array_equal(inner, masks[2, 1])


def test_missing_results_are_said_and_the_rest_is_written(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablations-report", str(out), "--page", str(out / "elsewhere")]) == 0
    said = capsys.readouterr()
    assert "1 results are missing" in said.err
    assert "runs/no_mask/seed1/benchmark/result.json" in said.err
    assert (out / "elsewhere" / "index.html").is_file() and "index.html" in said.out
    assert read_grid(out).missing == ("runs/no_mask/seed1/benchmark/result.json",)


def test_unusable_folders_are_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablations-report", str(tmp_path)]) == 2
    assert "holds no plan.json" in capsys.readouterr().err
    write_results(tmp_path, seeds=(0,), variants=("full", "no_mask"), long_frames=16)
    path = tmp_path / "runs" / "no_mask" / "seed0" / "benchmark" / "result.json"
    content = json.loads(path.read_text())
    for change, words in (
        ({"protocol": {**content["protocol"], "data_seed": 7}}, "their data_seed differs"),
        (
            {"protocol": {**content["protocol"], "classifier": {"sha256": "0"}}},
            "classifier differs",
        ),
        ({"metrics": {"FVD": "many"}}, "damaged result"),
        ({"curves": None}, "damaged result"),
    ):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(UserError, match=words):
            read_grid(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="is not json"):
        read_grid(tmp_path)
    path.write_text(json.dumps(content))
    sweep = tmp_path / "runs" / "full" / "seed0" / "t_test_100" / "result.json"
    swept = json.loads(sweep.read_text())
    swept["protocol"]["clips"] += 1
    sweep.write_text(json.dumps(swept))
    with pytest.raises(UserError, match="their clips differs"):
        read_grid(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(UserError, match="holds no result yet"):
        read_grid(tmp_path)


def test_null_is_no_number(tmp_path: Path) -> None:
    write_results(tmp_path, seeds=(0,), variants=("full",), long_frames=0)
    run = read_run(tmp_path / "runs" / "full" / "seed0" / "benchmark" / "result.json")
    assert "background_psnr@127" not in run.metrics and set(run.metrics) < set(METRICS)
    assert np.isnan(run.per_clip["direction@16"][-1])


def test_without_a_configuration_its_settings_are_left_out(tmp_path: Path) -> None:
    from evaluation.studies.board import settings

    write_results(tmp_path, seeds=(0,), variants=("full",), long_frames=16)
    shutil.rmtree(tmp_path / "runs" / "full" / "seed0" / "tensorboard")
    assert settings(read_grid(tmp_path), "full", 0) == {"variant": "full", "seed": 0}


def test_a_configuration_that_was_half_written_does_not_end_the_page(tmp_path: Path) -> None:
    write_results(tmp_path, seeds=(0,), variants=("full",), long_frames=16)
    run, grid = tmp_path / "runs" / "full" / "seed0", read_grid(tmp_path)
    whole = grid.config("full", 0)
    assert whole and not (run / "config.yaml").exists()
    (run / "config.yaml").touch()
    assert grid.config("full", 0) == whole
    (run / "config.yaml").write_text("model: [")
    with pytest.raises(UserError, match=r"configuration '.*config.yaml' is not YAML"):
        grid.config("full", 0)
