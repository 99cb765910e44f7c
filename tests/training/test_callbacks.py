"""What reaches TensorBoard, read back from the event file."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from stub_system import StubSystem, loader, make_batch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.tar import ShardWriter
from lightning_artv.training.callbacks import LossByTimestep, Throughput, by_quartile, means
from lightning_artv.training.ema import EMA
from lightning_artv.training.module import VideoModule
from lightning_artv.training.samples import SampleLogger, evaluating, held_out_clips


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of 16x16 pixels: three of 6 frames, and one too short to show."""
    folder = tmp_path_factory.mktemp("shards")
    with ShardWriter(folder) as writer:
        for index, frames in enumerate((2, 6, 6, 6)):
            clip = np.zeros((frames, 16, 16, 3), dtype=np.uint8)
            clip[:] = (20 * index + 7 * np.arange(frames, dtype=np.uint8))[:, None, None, None]
            writer.write(f"clip{index}", encode_lossless(clip, 8), f"caption {index}", {})
    return folder


@pytest.fixture(scope="module")
def events(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> EventAccumulator:
    """The event file of a four-step run with every callback on."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    model = VideoModule(StubSystem(), lr=1e-3, warmup_steps=4)
    callbacks = [
        EMA(decay=0.9),
        Throughput(every_n_batches=2),
        LossByTimestep(every_n_batches=4),
        SampleLogger(every_n_steps=2, clips=2, frames=5, prompts=["a", "b", "c"]),
    ]
    trainer = Trainer(
        accelerator="cpu",
        max_steps=4,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        limit_val_batches=1,
    )
    data = VideoDataModule(
        str(shards), str(shards), size=16, batch_size=2, num_workers=0, max_corrupt_share=1.0
    )
    trainer.fit(model, datamodule=data)
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def test_scalars_are_there_and_sensible(events: EventAccumulator) -> None:
    tags = set(events.Tags()["scalars"])
    expected = {"train/loss", "train/gradient_norm", "train/lr", "train/samples_per_second"}
    assert expected | {"train/data_wait_share"} <= tags
    assert [e.value for e in events.Scalars("train/lr")] == pytest.approx(
        [2.5e-4, 5e-4, 7.5e-4, 1e-3]
    )
    assert all(0 <= e.value <= 1 for e in events.Scalars("train/data_wait_share"))
    quartiles = [t for t in tags if t.startswith("train/loss_q")]
    assert quartiles
    own = [t for t in tags if t.startswith("train/quarter_q")]
    assert len(own) == len(quartiles)
    assert {event.value for tag in own for event in events.Scalars(tag)} == {0.25}
    assert events.Scalars("train/gradient_norm")[0].value > 0


def test_held_out_samples_are_an_animated_gif_with_the_truth_above(
    events: EventAccumulator, shards: Path
) -> None:
    logged = events.Images("samples/held_out")
    assert [e.step for e in logged] == [2, 4]
    gif = Image.open(io.BytesIO(logged[0].encoded_image_string))
    assert gif.format == "GIF"
    assert gif.n_frames == 5
    assert gif.size == (logged[0].width, logged[0].height) == (16 + 2 + 16, 32)
    first = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(first[:16, :16] - first[16:, :16]).max() == 0  # the given first frame, twice
    gif.seek(3)
    later = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(later[:16, :16] - later[16:, :16]).max() > 0
    prompts = Image.open(io.BytesIO(events.Images("samples/prompts")[0].encoded_image_string))
    assert (prompts.n_frames, prompts.size) == (5, (3 * 16 + 2 * 2, 16))


def test_what_the_system_recorded_is_logged(events: EventAccumulator) -> None:
    """Five clips of five frames in three denoising steps; the first frames of two are given."""
    assert [(e.step, e.value) for e in events.Scalars("stub/steps")] == [(2, 27.0), (4, 27.0)]
    order = events.Histograms("stub/order")[-1].histogram_value
    assert (order.num, order.min, order.max, order.sum) == (27.0, 0.0, 2.0, 27.0)
    picture = events.Images("stub/picture")[-1]
    assert (picture.step, picture.width, picture.height) == (4, 3, 2)
    pixels = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)))
    assert (pixels == 7).all()


def test_held_out_clips_are_the_first_long_enough_in_order(shards: Path) -> None:
    data = VideoDataModule(str(shards), str(shards), size=16, num_workers=0)
    clips = held_out_clips(data, 2, 5)
    assert clips is not None
    assert clips.captions == ("caption 1", "caption 2")
    assert clips.frames.shape == (2, 5, 3, 16, 16)
    assert held_out_clips(data, 2, 99) is None


def test_quartiles_are_means_of_their_quarter() -> None:
    level = torch.tensor([0, 249, 250, 999, 1000]) / 1000
    values = torch.tensor([1.0, 3.0, 5.0, 7.0, 9.0])
    expected = {"x_q1": 2.0, "x_q2": 5.0, "x_q4": 8.0}
    assert by_quartile("x", values, level) == expected


def test_samples_without_a_noise_level_have_no_quartiles() -> None:
    """Only the system's own scalars are left: the module logs the loss itself."""
    values = {"loss": torch.tensor([1.0, 3.0]), "flow": torch.tensor([2.0, 6.0])}
    outputs = [{"level": None, "values": values}] * 2
    assert means(outputs, lambda sums: 2 * sums) == {"train/flow": 4.0}


def test_evaluating_restores_each_mode() -> None:
    system = StubSystem()
    system.train()
    system.vae.eval()
    with evaluating(system):
        assert not system.net.training
    assert system.training
    assert system.net.training
    assert not system.vae[1].training


def test_throughput_counts_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait of 3 s and a step of 1 s: 75 % waiting, half a sample a second."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    logged: dict[str, float] = {}
    monkeypatch.setattr(
        "lightning_artv.training.callbacks.log_scalars", lambda _, values: logged.update(values)
    )
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    callback, batch = Throughput(every_n_batches=2), make_batch(0)
    module = VideoModule(StubSystem())
    callback.on_train_epoch_start(trainer, module)
    for _ in range(2):
        clock[0] += 3.0
        callback.on_train_batch_start(trainer, module, batch, 0)
        clock[0] += 1.0
        callback.on_train_batch_end(trainer, module, None, batch, 0)
    assert logged == {"train/samples_per_second": 0.5, "train/data_wait_share": 0.75}


def test_sample_logging_leaves_training_unchanged(tmp_path: Path) -> None:
    """The same run with and without sample logging ends at the same weights."""
    ends = []
    for callbacks in ([], [SampleLogger(every_n_steps=1, clips=0, frames=2, prompts=["a"])]):
        torch.manual_seed(0)
        model = VideoModule(StubSystem(), lr=1e-2)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=TensorBoardLogger(tmp_path),
            callbacks=[EMA(0.5), *callbacks],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(model, loader(3))
        ends.append(model.system.net[0].weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not math.isnan(float(ends[0].sum()))
