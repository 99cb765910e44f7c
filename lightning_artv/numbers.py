"""Numbers in texts of users: file names, options; and sizes as they are told to them."""

from __future__ import annotations

LONGEST = 4000
"""Digits; Python refuses to read a number of more than 4,300."""


def whole_number(text: str) -> int | None:
    """The number that a text of ASCII digits is, or None for any other text.

    `str.isdigit` is also true of characters such as `²`, which `int` refuses.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST else None


def size(count: int) -> str:
    """A number of bytes with the unit that leaves it three digits: `46.8 MB`."""
    value, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and units[1:]:
        value /= 1000
        del units[0]
    return f"{value:.3g} {units[0]}"
