"""The type of the fixture that builds a tiny ART•V."""

from collections.abc import Callable

from lightning_artv.systems.artv import ARTV

MakeSystem = Callable[..., ARTV]
