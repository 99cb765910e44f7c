"""Compilation, recomputation and what else makes a system faster, for any system."""
