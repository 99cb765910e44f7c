"""Numbers in texts of users: file names, options."""

from __future__ import annotations

LONGEST = 4000
"""Digits; Python refuses to read a number of more than 4,300."""


def whole_number(text: str) -> int | None:
    """The number that a text of ASCII digits is, or None for any other text.

    `str.isdigit` is also true of characters such as `²`, which `int` refuses.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST else None
