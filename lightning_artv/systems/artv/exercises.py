"""Frames for a student and its teacher to make (`systems/teaching.py`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_artv.diffusion.noise import Generators, rand
from lightning_artv.systems.artv.denoiser import ARTVDenoiser
from lightning_artv.systems.artv.references import (
    FrameConditions,
    without_anchor,
    without_references,
)
from lightning_artv.systems.artv.windows import Roles
from lightning_artv.systems.teaching import Exercise


@dataclass(frozen=True)
class Conditioned:
    """Conditions of an exercise.

    Attributes:
        frames: references, anchor and noise level.
        captions: one per frame.
    """

    frames: FrameConditions
    captions: tuple[str, ...]


def exercises(
    denoiser: ARTVDenoiser,
    roles: Roles,
    captions: tuple[str, ...],
    level: int,
    first: float,
    generators: Generators,
) -> Iterator[Exercise]:
    """The next frames and the first frames among a batch's targets, each where there are any.

    Args:
        level: noise augmentation of references and anchor, as in generation.
        first: share of the targets that follow nothing.
        generators: one per target.
    """
    device = roles.target.device
    levels = torch.full((len(captions),), level, device=device)
    conditions = denoiser.condition(roles.references, roles.anchor, levels, generators)
    is_first = rand(generators, (), device) < first
    conditions = without_references(without_anchor(conditions, is_first), is_first)
    for follows in (True, False):
        rows = (is_first != follows).nonzero().flatten()
        if len(rows):
            mine = Conditioned(_only(conditions, rows), tuple(captions[row] for row in rows))
            yield Exercise(rows, roles.target[rows], follows, mine)


def _only(conditions: FrameConditions, rows: Tensor) -> FrameConditions:
    names = [field.name for field in dataclasses.fields(FrameConditions)]
    return FrameConditions(**{name: getattr(conditions, name)[rows] for name in names})
