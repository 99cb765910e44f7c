"""Where a sample's caption is: the one rule of loader, latents, checks and sources.

It is `key.txt`; where that is missing or blank, the first of `FIELDS` in `key.json` that holds text
(a text, or a list whose first text counts). Line breaks and runs of blanks become single blanks.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lightning_artv.errors import DataError, UserError
from lightning_artv.files import decode_text, has_surrogates, one_line

FIELDS = ("caption", "text", "prompt", "description")

TEXTS = ("txt", "json")
"""The files that may hold it."""

_LOOKED_AT = 1000


class BadCaption(ValueError):  # noqa: N818 - what the data is, not what the code did
    """There is a caption, but it is no text."""


@dataclass(frozen=True)
class Caption:
    """A sample's caption.

    Attributes:
        text: one line; empty where there is none.
        reason: why it is empty.
    """

    text: str
    reason: str = ""


def caption_of(files: Mapping[str, bytes]) -> Caption:
    """The caption among a sample's files (extension -> contents).

    Raises:
        BadCaption: it is no text (see `lightning_artv.files.read_text`), or holds half of a
            surrogate pair.
    """
    text = one_line(_decoded(files["txt"])) if "txt" in files else ""
    if text:
        return Caption(text)
    facts = facts_of(files) or {}
    found = (one_line(text) for text in map(_first_text, map(facts.get, FIELDS)))
    text = next(filter(None, found), "")
    if has_surrogates(text):
        raise BadCaption("the caption is not Unicode: half of a surrogate pair is in its .json")
    return Caption(text, "" if text else _reason(files))


def _reason(files: Mapping[str, bytes]) -> str:
    """Why there is no caption."""
    if "txt" in files:
        return "empty caption"
    if "json" not in files:
        return "no caption: there is no .txt and no .json"
    if facts_of(files) is None:
        return "no caption: there is no .txt and the .json is damaged"
    return f"no caption: there is no .txt and no text in the .json under {', '.join(FIELDS)}"


def facts_of(files: Mapping[str, bytes]) -> dict[str, Any] | None:
    """The fields of `key.json`; none without one, None where it is damaged or no object."""
    try:
        facts = json.loads(files.get("json", b"{}"))
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def _first_text(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return next((text for text in values if isinstance(text, str) and text.strip()), "")


def _decoded(data: bytes) -> str:
    try:
        return decode_text(data, "its .txt")
    except UserError as error:
        raise BadCaption(f"the caption is no text: {error}".rstrip(".")) from error


class Samples(Protocol):
    """Samples whose texts alone can be read, as `ShardIndex` does."""

    def __len__(self) -> int: ...

    def read(self, number: int, wanted: Container[str]) -> Any: ...


def require_captions(samples: Samples, option: str) -> None:
    """Stop where no sample has a caption, of up to `_LOOKED_AT` evenly spread ones.

    The first that has one ends the search, so that a usual set costs one look.

    Args:
        samples: what to look at.
        option: option that allows it, for the message.

    Raises:
        DataError: there is none.
    """
    step = max(1, len(samples) // _LOOKED_AT)
    first = ""
    for number in range(0, len(samples), step):
        raw = samples.read(number, TEXTS)
        if raw.damage:
            continue  # counted and named where it is read
        try:
            caption = caption_of(raw.files)
        except BadCaption:
            return
        if caption.text:
            return
        first = first or f"{raw.shard.name}:{raw.key}: {caption.reason}"
    if first:
        raise no_captions(first, f"to train without text, give --{option}")


def no_captions(first: str, otherwise: str) -> DataError:
    """What stops a set without any caption.

    Args:
        first: a sample and why it has none.
        otherwise: what else to do.
    """
    return DataError(
        f"Not one of the samples has a caption ({first}): put each into key.txt, or into a field "
        f"{FIELDS[0]} of key.json, right behind its video in the tar; {otherwise}."
    )
