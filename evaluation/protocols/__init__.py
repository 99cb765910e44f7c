"""Protocols: what a number's name leaves out. Frozen, hashed, compared before numbers are."""

from evaluation.protocols.presets import PRESETS, get_protocol
from evaluation.protocols.protocol import CHANGEABLE, METRICS, Protocol, settings_hash

__all__ = ["CHANGEABLE", "METRICS", "PRESETS", "Protocol", "get_protocol", "settings_hash"]
