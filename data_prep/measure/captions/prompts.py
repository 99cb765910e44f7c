"""The sentences around a label: templates of captions, and what models are asked."""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from data_prep.sources.ucf101 import words
from data_prep.tables import Row
from lightning_artv.errors import UserError
from lightning_artv.files import read_yaml

OURS = Path(__file__).with_name("prompts.yaml")


@dataclass(frozen=True)
class Prompts:
    """Sentences with a place for `{label}`.

    Attributes:
        template: captions.
        chat, plain: questions for a caption, to models with and without a chat template.
        relevance: `chat` or `plain` -> a question that is answered by yes or no.
        digest: digest of all of them.
    """

    template: tuple[str, ...]
    chat: tuple[str, ...]
    plain: tuple[str, ...]
    relevance: dict[str, str]
    digest: str


def load_prompts(path: str | None) -> Prompts:
    """The sentences of a file, or ours.

    Raises:
        UserError: no such file, other keys, or a sentence without `{label}`.
    """
    file = Path(path) if path else OURS
    fields = read_yaml(file, "list of prompts")
    lists = ("template", "chat", "plain")
    if not isinstance(fields, dict) or {*fields} != {*lists, "relevance"}:
        raise UserError(f"The prompts {file} need the keys {', '.join(lists)} and relevance.")
    relevance = fields["relevance"]
    if not isinstance(relevance, dict) or {*relevance} != {"chat", "plain"}:
        raise UserError(f"relevance in the prompts {file} needs the keys chat and plain.")
    for name in lists:
        if not isinstance(fields[name], list) or not fields[name]:
            raise UserError(f"{name} in the prompts {file} is no list of sentences.")
    for sentence in [*(s for name in lists for s in fields[name]), *relevance.values()]:
        _check(sentence, file)
    digest = hashlib.sha256(repr(sorted(fields.items())).encode()).hexdigest()[:16]
    template, chat, plain = (tuple(fields[name]) for name in lists)
    return Prompts(template, chat, plain, relevance, digest)


def label_of(row: Row) -> str:
    """What a row's video is about: its label in words, else its caption."""
    label = row.get("label") or ""
    spelt = words(label) if label.isascii() else label.replace("_", " ")
    return spelt.strip() or row["caption"]


def drawn(sentences: tuple[str, ...], label: str, random: Random) -> str:
    """One of the sentences, about the label."""
    return random.choice(sentences).format(label=label)


def _check(sentence: Any, file: Path) -> None:
    fields: set[str | None] = set()
    if isinstance(sentence, str):
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(sentence)} - {None}
        except ValueError:
            fields = set()
    if fields != {"label"}:
        raise UserError(
            f"The sentence {sentence!r} in the prompts {file} needs {{label}} and no other braces."
        )
