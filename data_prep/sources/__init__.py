"""Lists of videos with captions, in the forms that people have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from data_prep.options import SourceKind
from data_prep.sources import folder, msrvtt, openvid, ucf101, video2dataset, webvid
from data_prep.sources.checks import usable
from data_prep.sources.rows import Problem, VideoEntry
from lightning_artv.errors import UserError

KINDS = get_args(SourceKind)


def list_source(
    kind: str, path: Path, videos: Path | None = None
) -> Iterator[VideoEntry | Problem]:
    """The videos of a source in its order, and what of it cannot be used: nothing is left out.

    It streams: memory grows by some 12 bytes per video (the keys seen so far), not by the rows.

    Args:
        kind: one of `KINDS`.
        path: the CSV or JSON of webvid, openvid and msrvtt; else the folder.
        videos: the folder that the listed files are relative to; by default `videos` beside the
            CSV or JSON. The kinds that are a folder have their files in it.

    Raises:
        UserError: an unknown kind, a missing file or folder, a list without the columns it needs,
            or with nothing in it.
    """
    path = path.absolute()
    root = videos.absolute() if videos is not None else path.parent / "videos"
    if kind == "webvid":
        return usable(webvid.listed(path), root)
    if kind == "openvid":
        return usable(openvid.listed(path), root)
    if kind == "msrvtt":
        return usable(msrvtt.listed(path), root)
    if kind not in KINDS:
        raise UserError(f"A source is one of {', '.join(KINDS)}, not {kind!r}.")
    if videos is not None:
        raise UserError(f"A {kind} source has its videos in {path}; leave the videos folder out.")
    if kind == "folder":
        return usable(folder.listed(path), path)
    if kind == "ucf101":
        return usable(ucf101.listed(path), path)
    return usable(video2dataset.listed(path), path)
