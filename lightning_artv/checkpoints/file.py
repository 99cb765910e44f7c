"""What a checkpoint holds, and how a system is made from one.

A checkpoint is Lightning's own, with two differences: `state_dict` holds only what training changes
(a frozen VAE or text encoder is reloaded from its folder), and two keys are added: `ema` (averaged
weights) and `lightning_artv` (how to build the system again, the size and frame rate of its data).
It is read with `weights_only=True` and nothing else.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_artv.checkpoints.earlier import rename_weights
from lightning_artv.checkpoints.instantiate import instantiate_system
from lightning_artv.checkpoints.record import run_record
from lightning_artv.checkpoints.sharded import is_sharded, read_meta
from lightning_artv.checkpoints.sharded import read as read_sharded
from lightning_artv.checkpoints.weights import check_weights, difference
from lightning_artv.errors import UserError
from lightning_artv.networks.lora import merge_lora
from lightning_artv.systems.base import Origin, Trainable, VideoSystem

CONFIG_KEY = "lightning_artv"
EMA_KEY = "ema"
FORMAT = 1
PREFIX = "system."
"""Before a weight's name in `state_dict`."""

_UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, KeyError)

Weights = Literal["ema", "raw"]


def embedded_config(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run's resolved config goes into its checkpoints, as plain data.

    Args:
        resolved: has `model.system` (`class_path`, `init_args`), `data.size` and `data.fps`.
    """
    data = resolved.get("data") or {}
    return {
        "format": FORMAT,
        "system": resolved["model"]["system"],
        "data": {"size": data.get("size"), "fps": data.get("fps")},
        "run": run_record(resolved),
    }


def load_system(
    path: str | Path,
    weights: Weights = "ema",
    device: str | torch.device = "cpu",
    trusted_packages: Sequence[str] = (),
) -> VideoSystem:
    """The whole system of a checkpoint, ready to generate; see `load_part`.

    Raises:
        UserError: also a part that makes no videos alone.
    """
    system = load_part(path, weights, device, trusted_packages)
    if not isinstance(system, VideoSystem):
        raise UserError(
            f"'{path}' holds the part {system.part!r} of a system, which makes no videos alone: "
            "give the checkpoint of a whole system."
        )
    return system


def load_part(
    path: str | Path,
    weights: Weights = "ema",
    device: str | torch.device = "cpu",
    trusted_packages: Sequence[str] = (),
) -> Trainable:
    """What a checkpoint holds, a whole system or a part of one, in evaluation mode.

    Args:
        path: a checkpoint that `lightning fit` wrote.
        weights: the averaged weights (`ema`, what the paper generates with) or the `raw` ones.
        device: where the system goes.
        trusted_packages: packages besides `lightning_artv` whose classes the checkpoint may name.

    Raises:
        UserError: no such file, not a checkpoint (or a truncated one), another architecture, or no
            such weights.
        MissingWeightsError: a folder of frozen weights that the checkpoint names is not there.
    """
    checkpoint = read_checkpoint(path)
    config = checkpoint.get(CONFIG_KEY)
    if not isinstance(config, dict):
        raise UserError(
            f"'{path}' does not say which system it holds: give one that `lightning fit` wrote."
        )
    if config.get("format") != FORMAT:
        raise UserError(
            f"'{path}' has checkpoint format {config.get('format')!r}, but this version reads "
            f"{FORMAT}: use the version that wrote it."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a frozen network without a file is the same each time
        system = instantiate_system(config["system"], trusted_packages)
    restore_weights(system, checkpoint, weights, str(path))
    merge_lora(system)
    if isinstance(system, VideoSystem):
        system = system.delivered()
    system.origin = origin(*_size_and_fps(config["data"]), config["system"])
    return system.to(device).eval()


def origin(
    size: tuple[int, int] | None, fps: float | None, configuration: Mapping[str, Any]
) -> Origin:
    """What a system's `origin` is to say.

    Args:
        size: (height, width) in pixels of what it was trained on; None where nobody says it.
        fps: frames per second of that; None for every source frame.
        configuration: how the system was built, as plain data.
    """
    return Origin(size, fps, json.dumps(configuration, sort_keys=True))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The checkpoint's dictionary, on the CPU; only tensors and plain data.

    Args:
        path: a file, whose tensors are then mapped from it, or a folder of shards.

    Raises:
        UserError: no such checkpoint, or not one, or a truncated one.
    """
    if is_sharded(path):
        return read_sharded(path)
    if Path(path).is_dir():
        inside = sorted(Path(path).rglob("*.ckpt"))[:1]
        hint = f"name one, such as '{inside[0]}'" if inside else "give one of `lightning fit`"
        if (Path(path) / "model_index.json").is_file():
            hint = "it was exported, which generation, evaluation and --model.init_from read"
        raise UserError(f"'{path}' is a folder, but no sharded checkpoint: {hint}.")
    if not Path(path).is_file():
        raise UserError(f"There is no checkpoint '{path}'.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (*_UNREADABLE, pickle.UnpicklingError) as error:
        raise UserError(
            f"'{path}' is not a checkpoint, or is truncated: give one that `lightning fit` wrote."
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise UserError(f"'{path}' is not a checkpoint of `lightning fit`: it has no state_dict.")
    return checkpoint


def check_checkpoint(path: str | Path) -> None:
    """Find out early whether there is a checkpoint; of a folder, only that it is complete.

    Raises:
        UserError: no such checkpoint, or not one, or a truncated one.
    """
    if is_sharded(path):
        read_meta(path)
    else:
        read_checkpoint(path)


@torch.no_grad()
def restore_weights(
    system: Trainable, checkpoint: Mapping[str, Any], weights: Weights, name: str
) -> None:
    """Copy a checkpoint's weights into `system`; `name` is for messages.

    Raises:
        UserError: another architecture, or no EMA weights where they are asked for.
    """
    rename_weights(checkpoint, system, PREFIX)
    stored = _strip(checkpoint["state_dict"])
    parameters = system.trainable_parameters()
    check_weights(stored, parameters, f"'{name}'", system.state_dict().keys())
    system.load_state_dict(stored, strict=False)
    if weights == "raw":
        return
    ema = checkpoint.get(EMA_KEY)
    if ema is None:
        raise UserError(f"'{name}' holds no EMA weights: ask for the raw ones (--weights raw).")
    average = ema["weights"]
    check_weights(average, parameters, f"'{name}' (EMA)")
    for key, parameter in parameters.items():
        parameter.copy_(average[key])


def weights_for(system: Trainable, path: str | Path) -> Mapping[str, Tensor]:
    """A checkpoint's weights under the names that `system` has today: the averaged ones, if any.

    Raises:
        UserError: no such checkpoint.
    """
    checkpoint = read_checkpoint(path)
    rename_weights(checkpoint, system, PREFIX)
    average = checkpoint.get(EMA_KEY)
    return _strip(checkpoint["state_dict"]) if average is None else average["weights"]


@torch.no_grad()
def take_weights(system: Trainable, stored: Mapping[str, Tensor], path: str | Path) -> str:
    """Copy the trainable weights that `system` has in common with others.

    A variant can so start from another one's training, as the paper's start from Stable Diffusion:
    parts that the others lack keep their initial weights, parts that they have too many are left
    out.

    Args:
        stored: name -> weight.
        path: where they come from, for messages.

    Returns:
        a sentence that says how much was taken and what was not.

    Raises:
        UserError: weights of one name and two shapes, nothing in common, or trained weights that
            would be lost.
    """
    parameters = system.trainable_parameters()
    _check_nothing_lost(system, stored, path)
    shared = [name for name in parameters if name in stored]
    wider = {n: system.widen(n, stored[n], parameters[n]) for n in shared}
    stored = {**stored, **{n: w for n, w in wider.items() if w is not None}}
    differing = [n for n in shared if stored[n].shape != parameters[n].shape]
    if differing or not shared:
        reason = "no weight in common" if not shared else "another architecture"
        detail = "".join(f": {difference(n, stored[n], parameters[n])}" for n in differing[:1])
        raise UserError(f"init_from: '{path}' has {reason} with this system{detail}.")
    for name in shared:
        parameters[name].copy_(stored[name])
    new = sorted({_part(n) for n in parameters if n not in stored})
    unused = sorted({_part(n) for n in stored if n not in parameters})
    return (
        f"Starting from {len(shared)} of {len(parameters)} weights of {path}"
        + (f"; new in: {', '.join(new)}" if new else "")
        + (f"; left out of it: {', '.join(unused)}" if unused else "")
        + "."
    )


def _check_nothing_lost(system: Trainable, stored: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse trained weights of a network that stays as it is here, and updates (LoRA) of another
    rank: a run would begin without them, and its checkpoints hold what it trains alone.
    """
    trained = system.trainable_parameters()
    frozen = {n: p for n, p in system.named_parameters() if n not in trained}
    lost = {
        name
        for name, update in stored.items()
        if "lora_" in name and (name not in trained or trained[name].shape != update.shape)
    }
    for name, weight in stored.items():
        owner, _, kind = name.rpartition(".")
        kept = frozen.get(name, frozen.get(f"{owner}.base_layer.{kind}"))
        if kept is not None and not torch.equal(weight.to(kept), kept):
            lost.add(name)
    if lost:
        parts = ", ".join(sorted({_part(name) for name in lost}))
        raise UserError(
            f"init_from: '{path}' has trained weights in {parts} "
            "that this system has no place for, since what it freezes comes from unet.pretrained: "
            "write them to a folder (lightning export), and give that as unet.init_args.pretrained "
            "and as init_from."
        )


def _part(name: str) -> str:
    """The network that a weight belongs to, such as `denoiser.dynamic`."""
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == "denoiser" else 1])


def _strip(state: Mapping[str, Tensor], prefix: str = PREFIX) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def _size_and_fps(data: Mapping[str, Any]) -> tuple[tuple[int, int] | None, float | None]:
    size, fps = data.get("size"), data.get("fps")
    if isinstance(size, int):
        size = (size, size)
    return (int(size[0]), int(size[1])) if size else None, float(fps) if fps else None
