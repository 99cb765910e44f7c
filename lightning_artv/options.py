"""What the commands' argument parsers share; no torch here, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import NoReturn

from lightning_artv.errors import UserError, check_number


class Parser(argparse.ArgumentParser):
    """Raises a UserError where argparse prints its usage."""

    def error(self, message: str) -> NoReturn:
        """Raises:
        UserError: always.
        """
        raise UserError(f"{message[0].upper()}{message[1:]}; see `{self.prog} --help`.")


def whole(least: int | None = None) -> Callable[[str], int]:
    """A type for argparse: whole numbers in ASCII digits, from `least` on."""

    def parse(text: str) -> int:
        found = re.fullmatch(r"[+-]?[0-9]{1,4000}", text.strip())
        if not found or (least is not None and int(text) < least):
            limit = "" if least is None else " above 0" if least == 1 else f" from {least}"
            raise argparse.ArgumentTypeError(f"must be a whole number{limit}, got '{text}'")
        return int(text)

    return parse


positive = whole(1)


def number(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """A type for argparse: finite numbers from `least` to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text if text.isascii() else "nan")
            check_number("it", value, least, most)
        except (ValueError, UserError) as error:
            bounds = f" from {least:g}" * (least > -math.inf) + f" to {most:g}" * (most < math.inf)
            raise argparse.ArgumentTypeError(
                f"must be a finite number{bounds}, got '{text}'"
            ) from error
        return value

    return parse


def size(text: str) -> tuple[int, int]:
    """A type for argparse: `HEIGHTxWIDTH`."""
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH, such as 320x320, got '{text}'")
    return int(found.group(1)), int(found.group(2))


def named_value(text: str) -> tuple[str, str]:
    """A type for argparse: `NAME=VALUE`, of which a later one replaces an earlier."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, such as steps=20, got '{text}'")
    return name.strip(), value.strip()


def add_set(parser: argparse._ActionsContainer, metavar: str, text: str) -> None:
    """Add `--set NAME=VALUE ...`, which fills `options.changes`."""
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        type=named_value,
        default=[],
        metavar=metavar,
        dest="changes",
        help=text,
    )
