"""VideoGen (Li et al.): a reference picture, a cascade of clip models, slow motion, a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_artv.systems.videogen.stage import Cascade
    from lightning_artv.systems.videogen.system import Base

__all__ = ["Base", "Cascade"]


def __getattr__(name: str) -> Any:
    """`Base` and `Cascade`, imported when they are first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning_artv.systems.videogen import stage, system

    return getattr(system if name == "Base" else stage, name)
