"""UCF-101: `HandstandPushups/v_HandStandPushups_g01_c01.avi` and 13,319 others.

Its trap: that class is spelt HandstandPushups as a folder and in `classInd.txt`, but
HandStandPushups in its files, so a path cannot be made from a class. Here files are found, not
guessed, and the label is the folder's spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from data_prep.rows import Problem, VideoEntry, key_of
from lightning_artv.errors import UserError

_SPELT = {"HandStandPushups": "HandstandPushups"}  # some copies rename the folder like its files


def listed(path: Path) -> Iterator[VideoEntry | Problem]:
    """Every avi of every class folder, sorted; the caption is the class in words.

    Raises:
        UserError: no such folder, or no class folder with avi files in it.
    """
    if not path.is_dir():
        raise UserError(f"The folder {path} does not exist.")
    empty = True
    for folder in sorted(child for child in path.iterdir() if child.is_dir()):
        label = _SPELT.get(folder.name, folder.name)
        for file in sorted(folder.glob("*.avi")):
            empty = False
            name = f"{folder.name}/{file.name}"
            yield VideoEntry(key_of(file.name), name, words(label), label=label)
    if empty:
        raise UserError(f"{path} holds no class folders with .avi files; name UCF-101's folder.")


def words(label: str) -> str:
    """`HandstandPushups` -> `handstand pushups`."""
    return " ".join(re.findall(r"[A-Z][a-z]*|[a-z]+|\d+", label)).lower()
