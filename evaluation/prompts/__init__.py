"""Sentences for classes: ours for UCF-101, or a published list from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_artv.errors import UserError
from lightning_artv.files import read_yaml
from lightning_artv.generation.storyboard import read_prompts

UCF101 = Path(__file__).with_name("ucf101.yaml")


def class_sentences(path: str | Path | None, classes: Sequence[str]) -> dict[str, str]:
    """A sentence for each class.

    Args:
        path: YAML `Class: sentence`, or a text file with a sentence a line in the order of the
            sorted UCF-101 class names (as lists in papers are printed); None for our own list.
        classes: classes that need one; other classes of the file are left out.

    Raises:
        UserError: no such file, another form, or classes without a sentence.
    """
    path = UCF101 if path is None else Path(path)
    if path.suffix in (".yaml", ".yml"):
        sentences = _from_yaml(path)
    else:
        names = ucf101_classes()
        lines = read_prompts(path)
        if len(lines) != len(names):
            raise UserError(
                f"'{path}' must hold {len(names)} sentences, one a class in alphabetical order, "
                f"and holds {len(lines)}; or give a .yaml with 'Class: sentence'."
            )
        sentences = dict(zip(names, lines, strict=True))
    missing = [name for name in classes if name not in sentences]
    if missing:
        raise UserError(f"'{path}' has no sentence for {_some(missing)}: add 'Class: sentence'.")
    return {name: sentences[name] for name in classes}


def ucf101_classes() -> list[str]:
    """The 101 class names in the order of classInd.txt (case is ignored in sorting there)."""
    return sorted(_from_yaml(UCF101), key=str.lower)


def _from_yaml(path: Path) -> dict[str, str]:
    content = read_yaml(path, "prompts file")
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, str) and v.strip() for k, v in content.items()
    ):
        raise UserError(f"The prompts file '{path}' must hold 'Class: sentence' lines only.")
    return content


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
