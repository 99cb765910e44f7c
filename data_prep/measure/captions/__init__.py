"""Sentences for videos that have only a label, and the parts of long videos that show it."""
