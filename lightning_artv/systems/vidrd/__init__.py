"""VidRD (Gu et al.): text-to-video a clip at a time, reused and diffused to any length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_artv.systems.vidrd.system import VidRD

__all__ = ["VidRD"]


def __getattr__(name: str) -> Any:
    """`VidRD`, imported when it is first used."""
    if name != "VidRD":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning_artv.systems.vidrd.system import VidRD

    return VidRD
