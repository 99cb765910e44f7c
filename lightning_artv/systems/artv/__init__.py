"""ART•V (Weng et al.): auto-regressive text-to-video generation with masked diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_artv.systems.artv.system import ARTV

__all__ = ["ARTV"]


def __getattr__(name: str) -> Any:
    """`ARTV`, imported when it is first used: its flags and old names need no torch."""
    if name != "ARTV":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning_artv.systems.artv.system import ARTV

    return ARTV
