"""Small jobs for tests of the engines; importable by the worker processes."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import pyarrow as pa

from data_prep.engine import Work
from data_prep.tables import STATUS, Row
from lightning_artv.errors import MissingWeightsError

SCHEMA = pa.schema([("length", pa.int64()), ("calls", pa.int64()), *STATUS])


@dataclass(frozen=True)
class Lengths:
    """The length of the path; a caption may name a misfortune."""

    batch: int = 1
    seconds: float = 0.0
    weights: bool = True
    marks: str = ""
    """A folder where each worked-on key leaves a mark, a call a byte."""

    @property
    def schema(self) -> pa.Schema:
        return SCHEMA

    def open(self) -> Work:
        if not self.weights:
            raise MissingWeightsError("There are no weights w; fetch them.")
        return self._work

    def _work(self, rows: list[Row]) -> list[Row]:
        results = [self._one(row, len(rows)) for row in rows]
        return [result for result in results if result]

    def _one(self, row: Row, rows: int) -> Row:
        time.sleep(self.seconds)
        if self.marks:
            with open(os.path.join(self.marks, row["key"]), "a") as file:
                file.write("x")
        if row["caption"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if row["caption"] == "hang":
            time.sleep(7200)
        if row["caption"] == "bug":
            raise ZeroDivisionError("planted")
        if row["caption"] == "no memory":
            raise MemoryError
        if row["caption"] == "exit":
            raise SystemExit(3)
        if row["caption"] == "ctrl-c":
            raise KeyboardInterrupt
        if row["caption"] == "bad letters":
            raise OSError("x\udcff")
        if row["caption"] == "no answer":
            return {}
        if row["caption"] == "bad":
            return {"status": "failed", "error_kind": "no_video", "error": "it is bad"}
        return {"length": len(row["path"]), "calls": rows, "status": "ok"}
