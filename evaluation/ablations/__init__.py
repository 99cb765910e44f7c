"""The paper's Section 4.2 on synthetic worlds: the grid of variants, and what it shows."""
