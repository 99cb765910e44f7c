"""A study of another system, unlike ART•V's: two variants, one sweep of a setting of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluation.studies.budget import Budget, Spending
from evaluation.studies.claims import BetterThanZero, Comparison
from evaluation.studies.study import BASE, Axis, Heading, Ranked, Section, Study

HERE = Path("study")
HEAT = Heading("heat", "Heat at test time")


class ToyStudy(Study):
    """Records how warm a run was."""

    def hparams(self, config: Any) -> dict[str, str | float | None]:
        """One of its own."""
        return {"warmth": config.get("model", {}).get("warmth"), "unknown": None}

    def record(self, writer: Any, run: Any) -> None:
        """One scalar of its own."""
        writer.add_scalar("warmth", run.content["warmth"], 0)

    def sections(self, grid: Any, folder: Path) -> list[Section]:
        """A section without a figure."""
        return [Section(Heading("warm", "Warmth"), "How <b>warm</b>.", nothing="It was cold.")]


STUDY = ToyStudy(
    name="toy",
    title="A toy: studied",
    subject="a toy",
    config=HERE / "base.yaml",
    full_size=HERE / "large.yaml",
    overlays=HERE / "variants",
    sweeps_file=HERE / "sweeps.yaml",
    budgets={"tiny": Spending(Budget("tiny", 2, 4, 2, 2, 1, 32, 2), (BASE, "cold"))},
    settings=("oven.heat",),
    claims=(
        Comparison("warmth lowers FVD", "ours", (BASE, "warm"), ("cold", "cold"), ("FVD",)),
        BetterThanZero("heat helps", "ours", "heat", "direction@16"),
    ),
    axes={"heat": Axis(HEAT, "heat", "heat", "degrees", True, "Heat")},
    ranked=Ranked(
        "temperature wins", "temperatures", "one", {"warm": BASE, "cold": "cold"}, ("FVD",)
    ),
    goals={"direction@16": 0.5},
)
