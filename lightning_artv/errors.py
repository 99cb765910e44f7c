"""Errors that a user can mend. Each message is one sentence that names the thing and the fix.

The command line prints only the message and exits with `exit_code`; from Python they are ordinary
exceptions.
"""

from __future__ import annotations

import errno
import math
from numbers import Integral, Real

FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EEXIST),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)


class UserError(Exception):
    """Bad input: a missing file, a wrong size, an unknown option."""

    exit_code = 2


class MissingWeightsError(UserError):
    """A weight file or folder that the configuration names is not there."""

    exit_code = 3


class CorruptWeightsError(UserError):
    """A weight file whose size or sha256 is not the expected one; it was not loaded."""

    exit_code = 4


class DataError(UserError):
    """Training data that cannot be used: no shards, or too many corrupt samples."""

    exit_code = 5


class DecodeError(ValueError):
    """A video that cannot be read; the message says why. Others go on without it."""


MOST_FRAMES = 100_000
"""Of one video: its pictures are numbered with five digits."""


def check_frames(frames: object) -> None:
    """Raises:
    UserError: no number of frames that a video may have.
    """
    check_whole("A video needs at least 1 frame: the number of frames", frames, 1, MOST_FRAMES)


def check_whole(
    name: str, value: object, least: int | None = None, most: int | None = None
) -> None:
    """Raises:
    UserError: no whole number, or one outside `least` .. `most`.
    """
    low, high = -math.inf if least is None else least, math.inf if most is None else most
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not low <= int(value) <= high:  # type: ignore[call-overload]
        limits = _from("" if least is None else least, "" if most is None else most)
        raise UserError(f"{name} must be a whole number{limits}, got {value!r}.")


def check_number(
    name: str, value: object, least: float = -math.inf, most: float = math.inf
) -> None:
    """Raises:
    UserError: no number, not a finite one, or one outside `least` .. `most`.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UserError(f"{name} must be a number, got {value!r}.")
    if not (math.isfinite(value) and least <= float(value) <= most):
        low, high = (f"{bound:g}" if math.isfinite(bound) else "" for bound in (least, most))
        raise UserError(f"{name} must be a finite number{_from(low, high)}, got {value}.")


def _from(least: object, most: object) -> str:
    """` from 1 to 9`, or what there is of it."""
    return f" from {least}" * (least != "") + f" to {most}" * (most != "")


def system_sentence(error: OSError) -> str | None:
    """What to tell of the operating system's refusal (a full disk, no permission).

    None for errors of other kinds, which are no user's to mend.
    """
    if error.errno in FULL:
        where = f" while writing '{error.filename}'" if error.filename else ""
        return f"The disk is full{where}: free some space and run the command again."
    if error.errno in _REFUSED and error.filename:
        return f"Cannot use '{error.filename}': {error.strerror}; name another place."
    return None
