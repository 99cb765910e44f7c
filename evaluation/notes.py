"""Warnings: printed when they are known, and kept for the result."""

from __future__ import annotations

import sys
from collections.abc import Callable

Warn = Callable[[str], None]


def on_stderr(sentence: str) -> None:
    """Print a warning."""
    print(f"warning: {sentence}", file=sys.stderr, flush=True)


def quiet(sentence: str) -> None:
    """Leave a warning out where another command printed it."""


class Notes:
    """Prints each warning once and keeps it.

    Attributes:
        sentences: what was said so far.
    """

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def __call__(self, sentence: str) -> None:
        """Say it, unless it was said before."""
        if sentence not in self.sentences:
            self.sentences.append(sentence)
            on_stderr(sentence)
