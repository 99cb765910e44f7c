"""The model card of an exported folder, written from what the run's checkpoint says; no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_artv.media.atomic import write_atomically
from lightning_artv.pipelines.folder import CARD, checksums, read_index

USAGE = """\
```python
from lightning_artv import {kind}  # also before DiffusionPipeline.from_pretrained

pipeline = {kind}.from_pretrained("{name}")
frames = pipeline("{prompt}", num_frames=16, seed=0).frames[0]
```

```sh
lightning generate --checkpoint {name} --prompt "{prompt}" --output video.mp4
```
"""


@dataclass(frozen=True)
class About:
    """What a pipeline's model cards say of its system.

    Attributes:
        system: its name.
        text: what it is, in one sentence.
    """

    system: str
    text: str


def write_card(
    folder: Path, about: About, training: Mapping[str, Any], name: str | None = None
) -> None:
    """Write `README.md` into an exported folder.

    Args:
        folder: folder with the weights and `sha256.txt`.
        about: the pipeline's.
        training: `export.training_record`'s, or empty.
        name: what a user loads it by; None for the folder's own name.
    """
    kind = str(read_index(folder).get("_class_name"))
    sections = [
        _header(training, about.system),
        f"# {about.system} text-to-video\n",
        f"{about.text} Trained with lightning-artv.\n",
        "## Use\n",
        USAGE.format(kind=kind, name=name or folder.name, prompt="what the video shows"),
        "## Training\n",
        "\n".join(_training(training)) + "\n",
        "## Licence\n",
        _licence(_base(training)),
        "## Files\n",
        _files(folder),
    ]
    write_atomically(folder / CARD, "\n".join(sections).encode())


def _header(training: Mapping[str, Any], system: str) -> str:
    base = _base(training)
    data: dict[str, Any] = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-video",
        "tags": ["text-to-video", system.replace("•", "-").lower(), "diffusers"],
    }
    if base is not None and not Path(base).is_absolute() and base.count("/") == 1:
        data["base_model"] = base
    if base is not None and "stable-diffusion-2" in base:
        data["license"] = "openrail++"
    return f"---\n{yaml.safe_dump(data, sort_keys=False)}---\n"


def _training(training: Mapping[str, Any]) -> Iterator[str]:
    """Markdown lines: what is recorded, and that nothing else is."""
    if not training:
        yield "Nothing is recorded about this model's training."
        return
    yield f"- weights: {_weights(training)}"
    yield f"- optimiser steps: {training.get('steps', 'not recorded')}"
    run = training.get("run") or {}
    data = {**(training.get("data") or {}), **(run.get("data") or {})}
    yield f"- data, as configured: {_inline(data)}"
    for part in ("model", "trainer"):
        yield f"- {part}: {_inline(run.get(part))}"
    yield f"- seed: {_inline(run.get('seed_everything'))}"
    yield ""
    yield "The system, as configured:"
    yield ""
    yield f"```yaml\n{yaml.safe_dump(training.get('system'), sort_keys=False)}```"


def _weights(training: Mapping[str, Any]) -> str:
    if training.get("weights") != "ema":
        return "raw (not averaged)"
    ema = (training.get("run") or {}).get("ema")
    settings = f" ({_inline(ema)})" if ema else ""
    return f"exponential moving average{settings} over {training.get('ema_updates')} updates"


def _inline(value: Any) -> str:
    """`a: 1, b: [2, 3]` of plain data, without what is None; `not recorded` where nothing is."""
    if value is None or value == {}:
        return "not recorded"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {given}" for name, given in value.items() if given is not None)
    return str(value)


def _base(training: Mapping[str, Any]) -> str | None:
    """The diffusers folder or hub id that the U-Net started from, if any."""
    arguments = (training.get("system") or {}).get("init_args") or {}
    unet = arguments.get("unet") or {}
    if not str(unet.get("class_path", "")).endswith(".PretrainedUNet"):
        return None
    return str((unet.get("init_args") or {}).get("pretrained", "")) or None


def _licence(base: str | None) -> str:
    code = "The code is Apache-2.0."
    if base is None:
        return f"{code} Who trained these weights says what they may be used for.\n"
    return (
        f"{code} The weights are derived from `{base}`, and its licence applies to them: for "
        f"Stable Diffusion 2.1 that is CreativeML Open RAIL++-M, with its use restrictions.\n"
    )


def _files(folder: Path) -> str:
    rows = [
        f"| {name} | `{digest}` |"
        for name, digest in checksums(folder).items()
        if name.endswith(".safetensors")
    ]
    return "\n".join(["| weights | sha256 |", "|---|---|", *rows]) + "\n"
