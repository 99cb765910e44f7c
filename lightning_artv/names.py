"""Names of files as people write them: in another Unicode form, without suffix, with folders."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath

from lightning_artv.errors import UserError
from lightning_artv.files import is_blank


def normal_name(name: str) -> str:
    """A file's relative path in one form: NFC, `/` between folders, no `./`, nothing around it
    that cannot be seen."""
    plain = unicodedata.normalize("NFC", trimmed(name)).replace("\\", "/")
    return str(PurePosixPath(plain)) if plain else ""


def trimmed(name: str) -> str:
    """A name without blanks around it, nor other characters that cannot be seen, which come with
    copied texts."""
    plain = name.strip()
    while plain and is_blank(plain[0]):
        plain = plain[1:]
    while plain and is_blank(plain[-1]):
        plain = plain[:-1]
    return plain


class Names:
    """The names of files that are there, to be found by names as people write them.

    Args:
        names: relative paths, each once.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._by_stem: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name in names:
            plain = normal_name(name)
            base = PurePosixPath(plain)
            for key in dict.fromkeys((base.name, base.stem)):
                self._by_stem[key].append((plain, name))

    def find(self, written: str) -> str | None:
        """The one name that `written` means, the most alike first; or None.

        Both are equal in their `normal_name`, but that either may lack the suffix, and may lack
        folders in front.

        Raises:
            UserError: several are equally alike.
        """
        plain = normal_name(written)
        base = PurePosixPath(plain)
        likeness: dict[str, int] = {}
        for key in dict.fromkeys((base.name, base.stem)):
            for there, name in self._by_stem.get(key, ()):
                rank = _likeness(plain, there)
                if rank is not None:
                    likeness[name] = 0 if name == written else rank + 1
        best = [name for name, rank in likeness.items() if rank == min(likeness.values())]
        if len(best) > 1:
            raise UserError(
                f"'{written}' may be '{best[0]}' or '{best[1]}': write the name with its folder "
                "and suffix."
            )
        return best[0] if best else None


def find_file(folder: str | Path, name: str) -> Path | None:
    """The file `name` in a folder, whichever Unicode form the disk has its name in, and also where
    the name has Windows' `\\`; or None."""
    path = Path(folder, name)
    if os.path.isfile(path):
        return path
    if name.isascii() and "\\" not in name:
        return None
    place = str(folder)
    for part in PurePosixPath(name.replace("\\", "/")).parts:
        if not os.path.exists(os.path.join(place, part)) and os.path.isdir(place):
            part = _entries(place, os.stat(place).st_mtime_ns).get(_nfc(part), part)
        place = os.path.join(place, part)
    return Path(place) if os.path.isfile(place) else None


def _likeness(one: str, other: str) -> int | None:
    """How far two names of one file are apart: 2 for each folder in front that one lacks, and 1
    for a suffix; None: other files."""
    first, second = PurePosixPath(one), PurePosixPath(other)
    shorter = min(len(first.parts), len(second.parts))
    if not shorter or first.parts[-shorter:-1] != second.parts[-shorter:-1]:
        return None
    moved = 2 * abs(len(first.parts) - len(second.parts))
    if first.name == second.name:
        return moved
    return moved + 1 if first.name == second.stem or first.stem == second.name else None


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


@lru_cache(maxsize=64)
def _entries(folder: str, changed: int) -> dict[str, str]:
    """NFC -> the name on the disk; `changed` is the cache's."""
    return {_nfc(name): name for name in os.listdir(folder)}
