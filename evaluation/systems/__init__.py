"""Trained systems on the same moving shapes, with the same captions and noise."""
