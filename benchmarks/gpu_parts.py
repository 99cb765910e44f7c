"""The measurements of `benchmarks.gpu`, part by part."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diffusers import AutoencoderKL
from torch import nn

from benchmarks.counters import batch, flops
from benchmarks.flops import VAE
from benchmarks.full_size import PAPER
from benchmarks.gpu_bench import Bench, device_for
from benchmarks.graphs import GraphedDenoiser
from lightning_artv.speed.blocks import compile_blocks
from lightning_artv.systems.artv.settings import ARTVSampling

PEAK = 990e12
"""bf16 FLOP/s of an H100 or H200, dense, as its maker says."""
Measurement = tuple[str, Callable[[], dict[str, Any]]]


def meta(tiny: bool) -> dict[str, Any]:
    """What was measured on."""
    device = device_for(tiny)
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    return {
        "device": name,
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "tiny": tiny,
    }


def measurements(part: str, tiny: bool) -> Iterator[Measurement]:
    """Names and calls of a part, one after another: what one changes, the next may use."""
    bench = _bench(tiny)
    yield from {
        "count": _count,
        "train": _train,
        "optimizer": _optimizer,
        "generate": _generate,
        "vae": _vae,
        "kernels": _kernels,
        "waits": _waits,
        "loader": _loader,
        "compiled": _compiled,
    }[part](bench)
    bench.clean()


@cache
def _bench(tiny: bool) -> Bench:
    return Bench(tiny)


def _count(bench: Bench) -> Iterator[Measurement]:
    def frame(settings: ARTVSampling) -> dict[str, Any]:
        call = bench.frame(settings, 1)
        call()
        return {"tflop": flops(call) / 1e12}

    yield "training sample", lambda: {"tflop": bench.sample_flops() / 1e12}
    yield "frame, exact", partial(frame, dataclasses.replace(PAPER, steps=bench.steps))
    yield "frame, fast", partial(frame, bench.fast)


def _trained(bench: Bench, size: int) -> dict[str, Any]:
    bench.clean()
    samples = batch(bench.size, size, device=bench.device)
    milliseconds = bench.milliseconds(lambda: bench.train_step(samples))
    rate = size / milliseconds * 1000
    cuda = bench.device.type == "cuda"
    return {
        "ms": milliseconds,
        "samples_s": rate,
        "share_of_990": rate * bench.sample_flops() / PEAK if cuda else None,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if cuda else None,
    }


def _train(bench: Bench) -> Iterator[Measurement]:
    for size in bench.batches:
        yield f"eager, batch {size}", partial(_trained, bench, size)
    bench.system.denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    yield f"channels-last, batch {bench.batches[1]}", partial(_trained, bench, bench.batches[1])
    bench.system.denoiser.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _optimizer(bench: Bench) -> Iterator[Measurement]:
    from lightning_artv.training.optim import gradient_norm

    bench.prepare_optimizer()
    samples, values = batch(bench.size, 1, device=bench.device), list(bench.parameters.values())
    bench.forward_backward(samples)
    assert bench.optimizer is not None
    calls: dict[str, Callable[[], Any]] = {
        "gradient norm of the guard": partial(gradient_norm, bench.parameters),
        "clipping": partial(nn.utils.clip_grad_norm_, values, 1.0),
        "AdamW": bench.optimizer.step,
        "EMA": bench.ema.update,
    }
    for name, call in calls.items():
        yield name, lambda call=call: {"ms": bench.milliseconds(call)}  # type: ignore[misc]


def _made(bench: Bench, settings: ARTVSampling, videos: int, graph: bool = False) -> dict[str, Any]:
    if graph:
        bench.needs_cuda()
    denoiser = bench.system.denoiser
    stand_in = GraphedDenoiser(denoiser) if graph else denoiser.denoise
    with mock.patch.object(denoiser, "denoise", stand_in):
        milliseconds = bench.milliseconds(bench.frame(settings, videos), 3)
    return {"ms_frame": milliseconds, "ms_frame_and_video": milliseconds / videos}


def _generate(bench: Bench) -> Iterator[Measurement]:
    exact = dataclasses.replace(PAPER, steps=bench.steps)
    for videos in bench.videos:
        yield f"exact, videos {videos}", partial(_made, bench, exact, videos)
        yield f"fast, videos {videos}", partial(_made, bench, bench.fast, videos)
        yield f"exact, CUDA graph, videos {videos}", partial(_made, bench, exact, videos, True)


def _vae(bench: Bench) -> Iterator[Measurement]:
    small = {"block_out_channels": (8, 16, 16, 16), "norm_num_groups": 8} if bench.tiny else {}
    vae = AutoencoderKL(**{**VAE, **small}).to(bench.device).eval()
    side = 32 if bench.tiny else bench.size.pixels
    for count in (1,) if bench.tiny else (1, 8):
        picture = torch.zeros(count, 3, side, side, device=bench.device)
        latent = torch.zeros(count, 4, side // 8, side // 8, device=bench.device)
        calls = {"encode": partial(vae.encode, picture), "decode": partial(vae.decode, latent)}
        for name, call in calls.items():

            def measure(call: Callable[[], Any] = call, count: int = count) -> dict[str, Any]:
                with bench.autocast(), torch.no_grad():
                    return {"ms_frame": bench.milliseconds(call) / count}

            yield f"{name}, {count} at once", measure


def _kernels(bench: Bench) -> Iterator[Measurement]:
    from torch.profiler import ProfilerActivity, profile

    def table(call: Callable[[], Any], top: int = 15) -> dict[str, Any]:
        call()
        cuda = bench.device.type == "cuda"
        kinds = [ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]
        with profile(activities=kinds) as profiler:
            call()
            bench.sync()
        what = "self_device_time_total" if cuda else "self_cpu_time_total"
        events = sorted(profiler.key_averages(), key=lambda e: -getattr(e, what))
        total = sum(getattr(event, what) for event in events)
        rows = [
            {"share": round(getattr(e, what) / total, 4), "calls": e.count, "name": e.key[:120]}
            for e in events[:top]
        ]
        return {"ms": total / 1000, "kernels": sum(e.count for e in events), "top": rows}

    samples = batch(bench.size, bench.batches[0], device=bench.device)
    yield "training step", lambda: table(lambda: bench.train_step(samples))
    few = dataclasses.replace(PAPER, steps=3)
    yield "3 denoising steps", lambda: table(bench.frame(few, 1))


def _waits(bench: Bench) -> Iterator[Measurement]:
    def waits(call: Callable[[], Any]) -> dict[str, Any]:
        bench.needs_cuda()
        call()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                call()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        found = [w for w in caught if "synchroniz" in str(w.message)]
        lines = Counter(f"{'/'.join(Path(w.filename).parts[-3:])}:{w.lineno}" for w in found)
        return {"waits": len(found), "lines": dict(lines)}

    samples = batch(bench.size, bench.batches[0], device=bench.device)
    yield "training step", lambda: waits(lambda: bench.train_step(samples))
    few = dataclasses.replace(PAPER, steps=4)
    yield "4 denoising steps", lambda: waits(bench.frame(few, 1))


def _loader(bench: Bench) -> Iterator[Measurement]:
    def feed(workers: int) -> dict[str, Any]:
        from lightning_artv.data.datamodule import VideoDataModule
        from lightning_artv.data.latents import pack
        from lightning_artv.data.members import LATENTS_KEY
        from lightning_artv.data.tar import ShardWriter
        from lightning_artv.systems.artv.windows import NextFrame

        count, size = (8, 2) if bench.tiny else (256, 64)
        side = bench.size.latent
        with tempfile.TemporaryDirectory() as folder:
            with ShardWriter(folder, count // 8) as writer:
                times = [index / 8 for index in range(16)]
                for number in range(count):
                    stored = pack(torch.randn(16, 8, side, side), times, (8 * side, 8 * side))
                    writer.write(f"{number:05d}", stored, "a caption", {}, LATENTS_KEY)
            data = VideoDataModule(
                folder, size=8 * side, windows=NextFrame(), batch_size=size, num_workers=workers
            )
            stream = iter(data.train_dataloader())
            for _ in range(workers + 1):
                next(stream)
            began, taken = time.perf_counter(), 4 if bench.tiny else 50
            for _ in range(taken):
                next(stream).to(bench.device, non_blocking=True)
            bench.sync()
            return {"samples_s": taken * size / (time.perf_counter() - began), "workers": workers}

    workers = 1 if bench.tiny else 8
    yield f"latent shards, {workers} workers", partial(feed, workers)


def _compiled(bench: Bench) -> Iterator[Measurement]:
    torch._dynamo.reset()
    compile_blocks(bench.system, "aot_eager" if bench.tiny else "inductor")
    few = dataclasses.replace(PAPER, steps=bench.steps)
    yield "generation, 1 video", partial(_made, bench, few, 1)
    size = bench.batches[-1]
    yield f"training, batch {size}", partial(_trained, bench, size)
    yield "graphs", lambda: json.loads(json.dumps(_dynamo()))
    for block in bench.system.blocks():
        vars(block).pop("forward", None)


def _dynamo() -> dict[str, Any]:
    from torch._dynamo.utils import counters

    breaks = sum(counters["graph_break"].values())
    return {"graphs": counters["stats"]["unique_graphs"], "graph_breaks": breaks}
