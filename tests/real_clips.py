"""Real videos to try things on: the folder that the variable TEST_CLIPS names, if there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CLIPS = Path(os.environ.get("TEST_CLIPS", "no-clips"))
needs_clips = pytest.mark.skipif(
    not CLIPS.is_dir(), reason="TEST_CLIPS names no folder of real clips"
)
