"""The step `caption`: a sentence for each video, from a model that sees it or around its label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import pyarrow as pa

from data_prep.engine import Work
from data_prep.engine.failure import BadVideo
from data_prep.measure.captions.prompts import Prompts, drawn, label_of, load_prompts
from data_prep.measure.columns import add_columns
from data_prep.options import EngineOptions
from data_prep.options.captions import TEMPLATE, CaptionOptions
from data_prep.sources.frames import frames_of
from data_prep.sources.listing import entry_of
from data_prep.tables import STATUS, Row
from lightning_artv.errors import UserError

COLUMNS = [
    pa.field("caption", pa.string()),  # the new one
    pa.field("source_caption", pa.string()),  # what the table had
    pa.field("captioner", pa.string()),  # the model and its weights, or the templates
]


@dataclass(frozen=True)
class Caption:
    """A `Job`: a row's caption, a video a call; the model stays in the process."""

    options: CaptionOptions
    batch: int = 1
    schema: pa.Schema = field(default_factory=lambda: pa.schema([*COLUMNS, *STATUS]), compare=False)

    def open(self) -> Work:
        """Load the model, if it is one.

        Raises:
            MissingWeightsError, CorruptWeightsError, UserError: it cannot be.
        """
        prompts = load_prompts(self.options.prompts)
        if self.options.captioner == TEMPLATE:
            return lambda rows: [from_template(row, prompts, self.options.seed) for row in rows]
        return ModelCaptions(self.options, prompts)


def write_captions(
    table: Path, out: Path, options: CaptionOptions, engine: EngineOptions, overwrite: bool = False
) -> bool:
    """Caption the videos of a table, see `add_columns`."""
    made_of = {**asdict(options), "prompts": load_prompts(options.prompts).digest}
    return add_columns(table, out, Caption(options), made_of, "caption", engine, overwrite)


def from_template(row: Row, prompts: Prompts, seed: int) -> Row:
    """A sentence around the row's label, drawn by its key."""
    caption = drawn(prompts.template, label_of(row), random_of(row, seed))
    return _result(row, caption, f"{TEMPLATE} {prompts.digest}")


class ModelCaptions:
    """Captions from a model that sees random frames of a video and is told its label.

    Raises:
        MissingWeightsError, CorruptWeightsError, UserError: see `Answerer`, or several frames for
            a model that sees one.
    """

    def __init__(self, options: CaptionOptions, prompts: Prompts) -> None:
        from data_prep.measure.captions.model import Answerer  # it takes a moment

        self.options = options
        self._model = Answerer(options.captioner, options)
        if options.frames > 1 and not self._model.chats:
            raise UserError(
                f"{options.captioner} has no chat template and sees one picture: leave --frames "
                f"{options.frames} out."
            )
        self._prompts = prompts.chat if self._model.chats else prompts.plain

    def __call__(self, rows: list[Row]) -> list[Row]:
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Row:
        entry, random = entry_of(row), random_of(row, self.options.seed)
        prompt = drawn(self._prompts, label_of(row), random)
        count = self.options.frames
        frames = frames_of(entry, lambda times: one_of_each_part(len(times), count, random))
        caption = self._model.answer(frames, prompt, self.options.max_tokens)
        if not caption:
            raise BadVideo("no_caption", "the model says nothing about it")
        return _result(row, caption, self._model.name)


def one_of_each_part(total: int, parts: int, random: Random) -> Sequence[int]:
    """A random one of `total` things from each of some equal parts; all where they are fewer."""
    parts = min(parts, total)
    bounds = [part * total // parts for part in range(parts + 1)]
    return [random.randrange(bounds[part], bounds[part + 1]) for part in range(parts)]


def random_of(row: Row, seed: int) -> Random:
    """What is drawn for a row: it depends on its key and the seed alone."""
    return Random(f"{seed}:{row['key']}")


def _result(row: Row, caption: str, captioner: str) -> Row:
    names = {"caption": caption, "source_caption": row["caption"], "captioner": captioner}
    return {**names, "status": "ok"}
