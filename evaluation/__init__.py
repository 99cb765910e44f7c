"""Metrics of generated videos, with the protocol that each number belongs to."""
