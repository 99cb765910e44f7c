"""Puts this folder on the path, so that the tests below it find `prep_videos` and its like."""
