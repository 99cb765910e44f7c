"""Work that can be sent to another process, and what becomes of a row for which it raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pyarrow as pa

from data_prep.engine.failure import failure
from data_prep.tables import Row

Work = Callable[[list[Row]], list[Row]]
"""A batch of a table's rows -> one result each, in order. For a bad video it gives `status`
"failed" with `error_kind` and `error`; where it raises, the engine does so for it (`attempt`)."""


class Job(Protocol):
    """Work that can be sent to another process; a frozen dataclass is one.

    Attributes:
        batch: rows a call.
        schema: the columns of a result, among them `status`, `error_kind` and `error`.
    """

    @property
    def batch(self) -> int: ...

    @property
    def schema(self) -> pa.Schema: ...

    def open(self) -> Work:
        """Get ready (load a model, say); called once in each process that works."""
        ...


def attempt(work: Work, rows: list[Row]) -> list[Row]:
    """The results of work that may raise: only the row that it raises for fails, with the reason.

    A batch is tried again row by row. What is no `Exception` (an exit, a decoder's crash) ends the
    process, and the engine finds out about that.
    """
    try:
        results = work(rows)
        if len(results) != len(rows):
            raise ValueError(f"{len(results)} results for {len(rows)} rows")
        return results
    except Exception as error:
        if len(rows) > 1:
            return [result for row in rows for result in attempt(work, [row])]
        kind, reason = failure(error)
        return [{"status": "failed", "error_kind": kind, "error": reason}]
