"""Times and rates, which are kept out of the tables: `name.log.json` beside each output."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from data_prep.options import EngineOptions
from lightning_artv.errors import UserError
from lightning_artv.files import read_json
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
    """The sessions that made an output; those in a damaged file are left out, with a warning."""
    path = log_path(out)
    try:
        sessions = read_json(path, "log") if path.is_file() else []
        if isinstance(sessions, list) and all(isinstance(entry, dict) for entry in sessions):
            return sessions
        reason = f"The log '{path}' is no list of sessions."
    except UserError as error:
        reason = str(error)
    warnings.warn(f"{reason} It is begun anew.", stacklevel=2)
    return []
