"""`python -m data_prep latents`: shards of videos as shards of stored latents, encoded once.

Training then reads `key.safetensors` (the autoencoder's moments of every frame) in the place of
`key.mp4`, with the same frames chosen; captions stay text.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_prep.engine.failure import failure
from data_prep.tables.provenance import as_json
from lightning_artv.data import latents
from lightning_artv.data.captions import BadCaption, caption_of, facts_of, require_captions
from lightning_artv.data.decode import DecodeError, Video, square
from lightning_artv.data.members import LATENTS_KEY, printable
from lightning_artv.data.shards import open_frames, open_samples
from lightning_artv.data.tar import RawSample, ShardWriter, read_shard, tars_in
from lightning_artv.data.timeline import timeline
from lightning_artv.errors import DataError, UserError
from lightning_artv.media.atomic import write_atomically
from lightning_artv.networks.autoencoder import Autoencoder, KLAutoencoder
from lightning_artv.progress import Progress

RECORD = "latents.json"
"""Beside the shards: how they were made, and what became of each source shard."""

_WHOLE = 10**9


@dataclass(frozen=True)
class LatentOptions:
    """How videos become latents; one value for a whole folder of shards.

    Attributes:
        autoencoder: where its weights come from, to be recorded.
        digest: sha256 of its weights.
        size: (height, width) in pixels, divisible by the autoencoder's factor.
        fps: frames per second that are kept; None for all of the source's.
    """

    autoencoder: str
    digest: str
    size: tuple[int, int]
    fps: float | None


@dataclass(frozen=True)
class LatentReport:
    """What became of the videos: how many were encoded, (key, reason) of the others, and how many
    of the former have no caption.
    """

    out: Path
    shards: int
    encoded: int
    skipped: tuple[tuple[str, str], ...]
    without_caption: int = 0

    def __str__(self) -> str:
        plural = "" if self.shards == 1 else "s"
        lines = [f"{self.encoded} videos' latents in {self.shards} shard{plural} in {self.out}."]
        if self.without_caption:
            lines.append(f"{self.without_caption} of them have no caption.")
        if self.skipped:
            lines.append(f"Skipped {len(self.skipped)}:")
            lines.extend(f"  {key}: {reason}" for key, reason in self.skipped)
        return "\n".join(lines)


def write_latents(
    shards: str | Path,
    out: Path,
    autoencoder: Autoencoder,
    options: LatentOptions,
    batch: int = 16,
    need_captions: bool = True,
) -> LatentReport:
    """Encode every video of `shards`, shard by shard; a shard that is done is not done again.

    Unreadable videos, and those with fewer than 2 frames at the rate, are skipped and named.

    Args:
        shards: folder, brace pattern or tar.
        out: folder for the new ones: `00000.tar` for the first of `shards`, and so on.
        autoencoder: autoencoder on the device to work on.
        options: recorded beside the shards.
        batch: frames encoded at once.
        need_captions: whether a set without any caption is an error.

    Raises:
        UserError: `out` holds latents that were made otherwise, or a size that does not fit.
        DataError: no shards, not one caption in them, or not one video could be used.
    """
    factor = autoencoder.factor
    if options.size[0] % factor or options.size[1] % factor:
        raise UserError(
            f"The size {options.size[0]}x{options.size[1]} is not divisible by {factor}, as the "
            "autoencoder needs; choose another --size."
        )
    index = open_samples(shards)
    if need_captions:
        require_captions(index, "without-captions")
    record, sources = _Record.open(out, options), index.shards
    names = [f"{number:05d}" for number in range(len(sources))]
    progress = Progress(len(sources), "shard", len(record.done))
    for number, (name, source) in enumerate(zip(names, sources, strict=True)):
        if record.has(name, source):
            continue
        with ShardWriter(out, _WHOLE, first=number) as writer:
            skipped, silent = _encode_shard(source, writer, autoencoder, options, batch)
        record.add(name, source, writer.count, skipped, silent)
        progress(1)
    progress.finish()
    return record.report(names)


def _encode_shard(
    source: Path,
    writer: ShardWriter,
    autoencoder: Autoencoder,
    options: LatentOptions,
    batch: int,
) -> tuple[list[tuple[str, str]], int]:
    """Write one shard's samples.

    Returns:
        (key, reason) of what was skipped, and how many have no caption.
    """
    skipped: list[tuple[str, str]] = []
    silent = 0
    for raw in read_shard(source):
        try:
            data = _encode(raw, autoencoder, options, batch)
            caption = caption_of(raw.files).text
        except UserError:  # not the video's fault
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, BadCaption) else failure(error)[1]
            skipped.append((printable(raw.key) or source.name, reason))
            continue
        silent += not caption
        writer.write(raw.key, data, caption, _meta(raw, options), LATENTS_KEY)
    return skipped, silent


def _encode(raw: RawSample, autoencoder: Autoencoder, options: LatentOptions, batch: int) -> bytes:
    with open_frames(raw) as video:
        if not isinstance(video, Video):
            raise DecodeError("it holds latents already")
        ticks = timeline(video.timestamps, options.fps)
        if len(ticks) < 2:
            raise DecodeError(f"fewer than 2 frames at {options.fps or 'its own'} fps")
        parts = [
            _moments(video, ticks[start : start + batch], autoencoder, options)
            for start in range(0, len(ticks), batch)
        ]
        kept = [video.timestamps[tick] for tick in ticks]
    times = kept if options.fps is None else [k / options.fps for k in range(len(ticks))]
    return latents.pack(torch.cat(parts), times, options.size)


@torch.no_grad()
def _moments(
    video: Video, ticks: list[int], autoencoder: Autoencoder, options: LatentOptions
) -> Tensor:
    device = next(autoencoder.parameters(), torch.empty(0)).device
    return autoencoder.store(video.frames(ticks, square(options.size)).to(device)).cpu()


def _meta(raw: RawSample, options: LatentOptions) -> dict[str, Any]:
    """The source's `key.json`, where it is one, and how the latents were made."""
    held = facts_of(raw.files)  # a source's damaged notes are not the video's damage
    return {**({"unreadable_json": True} if held is None else held), "latents": asdict(options)}


class _Record:
    """The file `latents.json`: rewritten after each shard, so that a killed run goes on."""

    def __init__(self, out: Path, options: dict[str, Any], done: dict[str, Any]) -> None:
        self.out, self.options, self.done = out, options, done

    @classmethod
    def open(cls, out: Path, options: LatentOptions) -> _Record:
        """Begin, or go on with what is in the folder.

        Raises:
            UserError: it was made otherwise, or holds something else.
        """
        wanted = as_json(asdict(options))
        path = out / RECORD
        if not path.is_file():
            foreign = tars_in(out) if out.is_dir() else []
            if foreign:
                raise UserError(
                    f"{out} holds {foreign[0].name}, which this command did not write; choose "
                    "another folder."
                )
            return cls(out, wanted, {})
        try:
            held = json.loads(path.read_text())
            made, done = held["options"], dict(held["shards"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged; choose another folder or delete it.") from error
        for name, value in wanted.items():
            if made.get(name) != value:
                raise UserError(
                    f"The latents in {out} were made with {name} {made.get(name)}, not {value}; "
                    "choose another folder."
                )
        return cls(out, wanted, done)

    def has(self, name: str, source: Path) -> bool:
        """Whether a source shard is done.

        Raises:
            UserError: its place is taken by another one.
        """
        if name not in self.done:
            return False
        if self.done[name]["source"] != source.name:
            raise UserError(
                f"{self.out / name}.tar was made from {self.done[name]['source']}, not "
                f"{source.name}; choose another folder."
            )
        made = self.done[name]["encoded"]
        return not made or (self.out / f"{name}.tar").is_file()

    def add(
        self,
        name: str,
        source: Path,
        encoded: int,
        skipped: list[tuple[str, str]],
        without_caption: int,
    ) -> None:
        """Note that a shard is done."""
        self.done[name] = {
            "source": source.name,
            "encoded": encoded,
            "skipped": skipped,
            "without_caption": without_caption,
        }
        text = json.dumps({"options": self.options, "shards": self.done}, indent=1)
        write_atomically(self.out / RECORD, text.encode())

    def report(self, names: list[str]) -> LatentReport:
        """The sum over all shards.

        Raises:
            DataError: not one video could be used.
        """
        rows = [self.done[name] for name in names]
        encoded = sum(row["encoded"] for row in rows)
        skipped = tuple((key, reason) for row in rows for key, reason in row["skipped"])
        if not encoded:
            key, reason = skipped[0] if skipped else ("the shards", "they are empty")
            raise DataError(f"Not one video could be encoded ({key}: {reason}).")
        shards = sum(1 for row in rows if row["encoded"])
        silent = sum(row.get("without_caption", 0) for row in rows)
        return LatentReport(self.out, shards, encoded, skipped, silent)


def open_autoencoder(
    pretrained: str, size: tuple[int, int], fps: float | None, device: torch.device, batch: int
) -> tuple[Autoencoder, LatentOptions]:
    """Stable Diffusion's autoencoder from a diffusers folder or hub id, and the options to record.

    Raises:
        MissingWeightsError: nothing there.
        CorruptWeightsError: damaged.
    """
    autoencoder = KLAutoencoder(pretrained, batch=batch).to(device)
    return autoencoder, LatentOptions(pretrained, digest_of(autoencoder), size, fps)


def digest_of(autoencoder: Autoencoder) -> str:
    """sha256 of its weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(autoencoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
