"""Pages from Jinja2 templates: one file each, without a script, to be read offline."""

from __future__ import annotations

import base64
from pathlib import Path

from lightning_artv.media.atomic import write_atomically

HERE = Path(__file__).parent


def write_page(path: Path, template: Path, **values: object) -> None:
    """Write a template, filled, whole or not at all.

    Args:
        path: page to write.
        template: file that extends `base.html` of this folder.
        values: what the template names; texts are escaped, charts and tables are drawn.

    Raises:
        UserError: the page cannot be written.
    """
    write_atomically(path, render(template, **values).encode("utf-8", "replace"))


def render(template: Path, **values: object) -> str:
    """A template, filled; a name that it lacks is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(**values)


def inline(data: bytes, kind: str) -> str:
    """The address of a picture that is part of the page; kind: `gif`, `jpeg` or `png`."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
