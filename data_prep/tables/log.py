"""Times and rates, which are kept out of the tables: `name.log.json` beside each output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_prep.engine import EngineOptions
from lightning_artv.media.atomic import write_atomically


def log_path(out: Path) -> Path:
    """`motion.parquet` -> `motion.log.json`."""
    return out.with_name(out.stem + ".log.json")


def note(
    out: Path, step: str, unit: str, count: int, seconds: float, engine: EngineOptions
) -> None:
    """Add a session to an output's log: an interrupted and resumed step has several."""
    session = {
        "step": step,
        "unit": unit,
        "count": count,
        "seconds": round(seconds, 3),
        "engine": engine.kind,
        "processes": engine.workers,
    }
    lines = json.dumps([*read_log(out), session], indent=1)
    write_atomically(log_path(out), lines.encode())


def read_log(out: Path) -> list[dict[str, Any]]:
    """The sessions that made an output."""
    path = log_path(out)
    sessions: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return sessions
