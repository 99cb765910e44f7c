"""Shared code speaks no word that only one system knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_architecture import ROOT, module_name, sources

ARTV_WORD = re.compile(r"(?i)(?<![a-z])(anchor|references|mask|noise_level)(?![a-z])")
"""What only ART•V speaks of, as a word of its own or as a part of a name."""

OTHER_MEANING = {
    "data_prep.selection.select": {"mask"},  # pyarrow's take
    "evaluation.studies.pictures": {"anchor"},  # Pillow's text
    "lightning_artv.networks.clip": {"mask"},  # transformers' attention_mask
    "lightning_artv.networks.temporal": {"mask"},  # diffusers' attention_mask
}
"""Modules where a library calls something else so."""


def artv_words(code: str) -> set[str]:
    """The words in a module's code, docstrings and comments, in names of any case."""
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", code)
    return {word.lower() for word in ARTV_WORD.findall(spelled)}


def speaks_artv(path: Path) -> bool:
    """Whether a file may: those of ART•V's own folders, and its study."""
    return "artv" in path.relative_to(ROOT).with_suffix("").parts


def test_shared_code_speaks_no_artv():
    shared = {module_name(path): path.read_text() for path in sources() if not speaks_artv(path)}
    found = {module: words for module, code in shared.items() if (words := artv_words(code))}
    assert found == OTHER_MEANING


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("mask_mean = 1", {"mask"}),
        ("class MaskRecord: pass", {"mask"}),
        ('"guidance.anchor"', {"anchor"}),
        ("def f(noise_level): pass  # of references", {"noise_level", "references"}),
        ("x.masked_fill(reference, anchored, noise, level)", set()),
    ],
)
def test_artvs_words_are_found_within_names(code, words):
    assert artv_words(code) == words
