"""A benchmark with exact truth: generated worlds against what should have been generated."""
