"""`python -m benchmarks.scaling_tables [--write]`: the tables of docs/scaling.md.

Prints them; `--write` puts them into the document. Half a minute on an idle core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.documents import write_into
from benchmarks.failures import HOUR, Machine, Saving, daly, lost, week, young
from benchmarks.flops import encoding
from benchmarks.recipes import Recipe, recipes
from benchmarks.scaling import (
    FAST,
    GB,
    GOAL,
    MOST,
    PEAK,
    SLOW,
    Split,
    ddp_bytes,
    ddp_exposed,
    fsdp_bytes,
    fsdp_exposed,
    goal_step_seconds,
    latent_frames,
    passes,
    read_seconds,
    split,
    state_bytes,
    step_seconds,
    video_bytes,
    write_seconds,
)
from lightning_artv.pages.table import Table

DOCUMENT = Path(__file__).parents[1] / "docs" / "scaling.md"
GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
DAY, MINUTE, TB = 24 * HOUR, 60.0, 1e12
PUBLISHED = 54 * 24 * 16384 / 419
"""GPU hours per unplanned stop: 419 in 54 days on 16,384 H100 (Llama 3, 2024, Sec. 3.3.4)."""
INTERVALS = tuple(2.5 * MINUTE * 2**power for power in range(8))
WEEKS = 1000
Row = tuple[str, ...]


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"into {DOCUMENT.name}")
    made = tables()
    if parser.parse_args().write:
        write_into(DOCUMENT, made)
    else:
        print("\n".join(f"{name}\n\n{table}" for name, table in made.items()))


def tables() -> dict[str, str]:
    """All of them in Markdown, by name."""
    known = recipes()
    artv = known["ART•V"]
    found = {
        "counted": counted(known),
        "training": training(artv),
        "recipes": whole_recipes(known),
        "network": network(artv),
        "storage": storage(known),
        "checkpoints": checkpoints(known),
        "failures": failures(known),
        "week": one_week(artv),
    }
    return {name: table.markdown() for name, table in found.items()}


def counted(known: dict[str, Recipe]) -> Table:
    """What everything else follows from."""
    head = ("", "trained, M", "frozen, M", "a sample, TFLOP", "backward", "batch", "checkpoint, GB")
    return Table(
        head,
        [
            (
                name,
                f"{r.trained / 1e6:,.0f}",
                f"{r.frozen / 1e6:,.0f}",
                f"{r.sample_flops / 1e12:.2f}",
                f"{r.backward_flops / r.sample_flops:.0%}",
                str(r.batch),
                f"{state_bytes(r) / GB:.1f}",
            )
            for name, r in known.items()
        ],
    )


def training(artv: Recipe) -> Table:
    """ART•V from stored latents, with the paper's batch and with as many samples as fit."""
    head = (
        *("GPUs", "batch", "per GPU", "a step, s", "samples/s", "scaling", "whole training, h"),
        *(f"at {GOAL:.0%} of the peak, h", f"samples/s at {MOST} per GPU"),
    )
    samples, alone, rows = artv.batch * artv.steps, 0.0, []
    for gpus in GPUS:
        way, full = split(artv.batch, gpus), Split(gpus, 1, MOST)
        rate, most = (w.batch / step_seconds(artv, FAST, w) for w in (way, full))
        alone = alone or rate
        goal = samples / way.batch * goal_step_seconds(artv, way)
        rows.append(
            (
                *(str(gpus), f"{way.batch:,}", f"{way.micro_batches} x {way.samples}"),
                *(f"{way.batch / rate:.2f}", f"{rate:,.0f}", f"{rate / gpus / alone:.0%}"),
                *(f"{samples / rate / HOUR:,.1f}", f"{goal / HOUR:,.1f}", f"{most:,.0f}"),
            )
        )
    return Table(head, rows)


def whole_recipes(known: dict[str, Recipe]) -> Table:
    """The trainings that the configurations describe, in FLOPs."""
    head = ("", "samples, M", "passes", "FLOP", "GPU days at 17 %", f"GPU days at {GOAL:.0%}")
    rows = []
    for name, r in known.items():
        flops = r.steps * r.batch * r.sample_flops
        days = [f"{flops / (share * PEAK) / DAY:,.0f}" for share in (0.17, GOAL)]
        millions = f"{r.steps * r.batch / 1e6:.1f}"
        rows.append((name, millions, f"{passes(r):.1f}", f"{flops:.1e}", *days))
    return Table(head, rows)


def network(artv: Recipe) -> Table:
    """What ART•V sends, and how long a step waits for it."""
    head = (
        *("GPUs", "DDP sends, GB per step", "waits, s", "on 100 Gb/s"),
        *("FSDP2 sends, GB per step", "waits, s", "on 100 Gb/s"),
    )

    def waits(way: Split) -> Iterator[str]:
        for sent, exposed in ((ddp_bytes, ddp_exposed), (fsdp_bytes, fsdp_exposed)):
            times = way.micro_batches if sent is fsdp_bytes else 1
            yield f"{times * sent(artv.trained, way.gpus) / GB:.1f}"
            yield from (f"{exposed(artv, cluster, way):.2f}" for cluster in (FAST, SLOW))

    return Table(head, [(str(n), *waits(split(artv.batch, n))) for n in GPUS if n > 1])


def storage(known: dict[str, Recipe]) -> Table:
    """WebVid-5M on disk, and what writing latents costs."""
    head = ("", "frames, M", "TB", "a sample's frames, kB", "encoding once, GPU days")
    encode = encoding()
    size = {name: r.frame_bytes / known["ART•V"].frame_bytes for name, r in known.items()}
    rows: list[Row] = [("videos, short side 320", "", f"{video_bytes() / TB:.1f}", "", "")]
    for name, r in known.items():
        frames = latent_frames(r)
        days = frames * encode * size[name] / (GOAL * PEAK) / DAY
        stored, window = frames * r.frame_bytes / TB, r.frames * r.frame_bytes / 1e3
        cells = (f"{frames / 1e6:,.0f}", f"{stored:.1f}", f"{window:.0f}", f"{days:.0f}")
        rows.append((f"latents of {name}, {r.fps} fps", *cells))
    return Table(head, rows)


def checkpoints(known: dict[str, Recipe]) -> Table:
    """Seconds for which all GPUs wait while one is written, and to read it."""
    some = (8, 64, 512)
    head = ("", "GB", "DDP, write", *(f"FSDP2, {n} GPUs" for n in some), "read, 64 GPUs")
    rows = []
    for name, r in known.items():
        sharded = (f"{write_seconds(r, FAST, n, True):.1f}" for n in some)
        alone, back = write_seconds(r, FAST, 64, False), read_seconds(r, FAST, 64)
        rows.append((name, f"{state_bytes(r) / GB:.1f}", f"{alone:.1f}", *sharded, f"{back:.1f}"))
    return Table(head, rows)


def machine(times_worse: float) -> Machine:
    """64 GPUs that fail as often as published, or more often."""
    return Machine(64, PUBLISHED / times_worse)


def failures(known: dict[str, Recipe]) -> Table:
    """The interval that loses least, in the simulation and by formula, in minutes of work.

    Slow GPUs are left out: they cost the same at every interval.
    """
    head = (
        *("", "write, s", "Young", "Daly", "least lost", "lost there"),
        *(f"at {INTERVALS[i] / MINUTE:g}" for i in (0, 2, -1)),
    )
    rows: list[Row] = []
    sections = {}
    for worse in (1, 10):
        gpus = machine(worse)
        between = gpus.mean_time_between_failures
        sections[len(rows)] = f"a failure every {between / HOUR:,.0f} hours"
        for name, r in known.items():
            for sharded in (False, True):
                write, read = write_seconds(r, FAST, 64, sharded), read_seconds(r, FAST, 64)
                losses = {i: lost(gpus, Saving(i, write, read), WEEKS) for i in INTERVALS}
                best = min(losses, key=lambda interval: losses[interval])
                minutes = (f(write, between) / MINUTE for f in (young, daly))
                shown = (losses[i] for i in (best, *(INTERVALS[i] for i in (0, 2, -1))))
                rows.append(
                    (
                        f"{name}, {'FSDP2' if sharded else 'DDP'}",
                        f"{write:.1f}",
                        *(f"{m:.0f}" for m in minutes),
                        f"{best / MINUTE:g}",
                        *(f"{100 * x:.2f} %" for x in shown),
                    )
                )
    return Table(head, rows, sections)


def one_week(artv: Recipe) -> Table:
    """Where the time of 64 GPUs goes in a mean week of ART•V under DDP."""
    head = ("a failure every", "interval", "saving", "trained again", "stopped", "slow GPUs", "all")
    rows = []
    write, read = write_seconds(artv, FAST, 64, False), read_seconds(artv, FAST, 64)
    for worse in (1, 10, 100):
        gpus = replace(machine(worse), slow_hours=500.0)
        between = gpus.mean_time_between_failures
        saves = Saving(daly(write, between), write, read)
        weeks = [week(gpus, saves, seed) for seed in range(WEEKS)]
        parts = ("saving", "redone", "stopped", "waiting")
        hours = [sum(getattr(done, part) for done in weeks) / WEEKS / HOUR for part in parts]
        cells = (f"{x:.2f} h" for x in (*hours, sum(hours)))
        rows.append((f"{between / HOUR:,.0f} h", f"{saves.interval / MINUTE:.0f} min", *cells))
    return Table(head, rows)


if __name__ == "__main__":
    main()
