"""The commands of `python -m data_prep`, as functions; what they return is printed.

Their parameters are the command lines (`data_prep.options.arguments`). Each step's code is imported
only when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from data_prep import options as opt
from data_prep.options.arguments import Argument
from data_prep.options.captions import CaptionOptions, SegmentOptions
from data_prep.options.images import ImageOptions
from data_prep.options.recipe import Recipe, Source, load_recipe
from lightning_artv.errors import DataError
from lightning_artv.given import SHARDS

Table = Annotated[Path, Argument(given="table: run the step that makes it first")]
Videos = Annotated[Path, Argument(given="folder")]
Out = Annotated[Path, Argument(help="the Parquet table to write")]
Tars = Annotated[Path, Argument(help="folder for the shards")]
Replace = Annotated[bool, Argument(help="replace what OUT holds")]
Engine = opt.EngineOptions
Again = Annotated[bool, Argument(help="make what was made with other options or input again")]


def folder(
    source: Videos, out: Tars, options: opt.FolderOptions, *, overwrite: Replace = False
) -> str:
    """Shards of a folder of videos with captions.

    Args:
        source: folder with metadata.csv (file_name,text) or .jsonl.
    """
    from data_prep.shards.folder import write_folder

    return str(write_folder(source, out, options, overwrite))


def shapes(out: Tars, options: opt.ShapesOptions, *, overwrite: Replace = False) -> str:
    """Shards of synthetic videos of moving shapes."""
    from data_prep.shards.shapes import write_shapes

    shards = write_shapes(out, options, overwrite)
    plural = "" if len(shards) == 1 else "s"
    return f"Wrote {options.count} videos in {len(shards)} shard{plural} to {out}."


def images(
    source: Videos,
    out: Tars,
    options: ImageOptions,
    engine: Engine,
    *,
    held_out: float = 0.0,
    overwrite: Again = False,
) -> str:
    """Shards of pictures that become videos by zooming and panning.

    Args:
        source: folder of pictures with metadata.csv (file_name,text) or .jsonl.
        out: folder; gets train/ and held_out/.
        held_out: share of all keys, in [0, 1), that is held out.
    """
    from data_prep.shards.accounts import summary
    from data_prep.shards.pseudo import write_listed
    from data_prep.shards.write import write_selection

    selection = write_listed(source, out, held_out)
    return summary(write_selection(selection, out, options, engine, overwrite), "images")


def run(recipe: Annotated[Path, Argument(given="recipe")], *, overwrite: Again = False) -> str:
    """All of the steps below, from one YAML; what is done is not done again.

    Args:
        recipe: file such as data_prep/example.yaml.
    """
    return run_recipe(load_recipe(recipe), overwrite)


def run_recipe(wanted: Recipe, overwrite: bool = False) -> str:
    """Do what is not done yet of every step; what became of the videos, in words."""
    from data_prep.measure.analyse import analyse_source

    folder, engine = wanted.out, wanted.engine
    table, selection = folder / "motion.parquet", folder / "selected.parquet"
    place, listing = wanted.source, folder / "listing.parquet"
    analyse_source(place, listing, table, wanted.motion, engine, overwrite)
    if wanted.clip is not None:
        clip(table, folder / "clip.parquet", wanted.clip, engine, overwrite=overwrite)
        table = folder / "clip.parquet"
    select(table, selection, wanted.select)
    text = shards(selection, folder / "shards", wanted.shards, engine, overwrite=overwrite)
    return f"{text}\n{report(folder)}"


def motion(
    source: Annotated[Path, Argument(given="list or folder")],
    out: Out,
    options: opt.AnalyseOptions,
    engine: Engine,
    *,
    kind: opt.SourceKind,
    videos: Annotated[Path | None, Argument(given="folder of videos")] = None,
    overwrite: Again = False,
) -> str:
    """List a source and measure motion, cuts, brightness, ... in one decode.

    Args:
        source: the CSV or JSON, or the folder.
        kind: kind of the source.
        videos: folder of the videos that a CSV or JSON lists.
    """
    from data_prep.measure.analyse import analyse_source

    place, listing = Source(kind, source, videos), out.with_name(out.stem + ".listing.parquet")
    analyse_source(place, listing, out, options, engine, overwrite)
    return _told(out)


def clip(
    table: Table, out: Out, options: opt.ClipOptions, engine: Engine, *, overwrite: Again = False
) -> str:
    """Score captions by CLIP.

    Args:
        table: table of the step motion.
    """
    from data_prep.measure.clip_score import score_captions

    score_captions(table, out, options, engine, overwrite)
    return _told(out)


def caption(
    table: Table, out: Out, options: CaptionOptions, engine: Engine, *, overwrite: Again = False
) -> str:
    """Caption videos that have only a label, by a model or a template.

    Args:
        table: table of the steps motion, segment or select.
    """
    from data_prep.measure.captions.caption import write_captions

    write_captions(table, out, options, engine, overwrite)
    return _told(out)


def segment(
    table: Table, out: Out, options: SegmentOptions, engine: Engine, *, overwrite: Again = False
) -> str:
    """Cut long videos where the scene changes or the label is not to be seen; a row for each piece.

    Args:
        table: table of the step motion.
    """
    from data_prep.measure.captions.segment import write_segments

    seconds = write_segments(table, out, options, engine, overwrite)
    return f"{_told(out)[:-1]}; {seconds}."


def select(table: Table, out: Out, options: opt.SelectOptions) -> str:
    """Decide what to keep; quick, so it is always up to date.

    Args:
        table: table of the steps motion and clip.
    """
    from data_prep.selection import select as selection

    selection.select(table, out, options)
    return _told(out, "decision")


def shards(
    table: Table, out: Tars, options: opt.ShardOptions, engine: Engine, *, overwrite: Again = False
) -> str:
    """Write what was selected as shards to train on.

    Args:
        table: table of the step select.
        out: folder; gets train/ and held_out/.
    """
    from data_prep.shards.accounts import summary
    from data_prep.shards.write import write_selection

    return summary(write_selection(table, out, options, engine, overwrite))


def latents(
    shards: Annotated[str, Argument(given=SHARDS, error=DataError)],
    out: Tars,
    *,
    pretrained: str,
    size: int = 320,
    fps: Annotated[float | None, Argument(off="--all-frames: keep each video's rate")] = 8.0,
    device: str = "auto",
    batch_size: int = 16,
    without_captions: bool = False,
) -> str:
    """Encode shards of videos once; training reads the result in their place.

    Args:
        shards: folder, brace pattern or tar, such as shards/train.
        pretrained: folder or hub id of Stable Diffusion.
        size: height and width in pixels, as data.size.
        fps: frames per second, as data.fps.
        device: cpu, cuda, ...; auto is the best.
        batch_size: frames per pass.
        without_captions: take a set that has none.
    """
    from data_prep.shards.latents import open_autoencoder, write_latents
    from lightning_artv.generation.command import choose_device

    best = choose_device(device)
    autoencoder, wanted = open_autoencoder(pretrained, (size, size), fps, best, batch_size)
    return str(write_latents(shards, out, autoencoder, wanted, batch_size, not without_captions))


def check(
    folder: Annotated[Path, Argument(given="folder of shards")],
    engine: Engine,
    *,
    quick: bool = False,
    repair: Annotated[Path | None, Argument(given="table", metavar="TABLE")] = None,
) -> str:
    """Verify shards: sha256, decoding, keyframes, captions.

    Args:
        folder: folder such as shards/train.
        quick: sizes and sha256 only.
        repair: table that the shards were made from, to make what is broken again.
    """
    from data_prep.shards.check import check_and_repair

    return check_and_repair(folder, engine, quick, repair)


def report(folder: Annotated[Path, Argument(given="folder that `run` wrote")]) -> str:
    """One HTML page about a folder that `run` wrote.

    Args:
        folder: the recipe's `out`.
    """
    from data_prep.report import write_report

    return f"Wrote {write_report(folder)}."


COMMANDS = (
    *(folder, images, shapes, run, motion, clip, caption, segment, select),
    *(shards, latents, check, report),
)


def _told(table: Path, column: str = "status") -> str:
    from data_prep.tables import counts

    return f"{table}: {counts(table, column)}."
