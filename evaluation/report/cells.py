"""Measurements as the cells of tables."""

from __future__ import annotations

from evaluation.result import MEASURED, Measurement
from lightning_artv.pages.table import EMPTY


def number(measurement: Measurement | None) -> str:
    """A measurement as a cell: `12.34 ± 0.56`, `skipped`, or a dash where it was not asked for."""
    if measurement is None:
        return EMPTY
    if measurement.status != MEASURED or measurement.value is None:
        return measurement.status
    value = digits(measurement.value)
    return value if measurement.sd is None else f"{value} ± {digits(measurement.sd)}"


def digits(value: float) -> str:
    """Two digits behind the point from 10 on, four below."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"
