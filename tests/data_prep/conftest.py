"""Workers that begin at once; this folder is on the path, for `prep_videos` and its like."""

from __future__ import annotations

import pytest
from forks import SERVER

from data_prep.engine import local


@pytest.fixture(autouse=True)
def _forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `test_run.py` starts processes that import everything themselves, as users' do."""
    monkeypatch.setattr(local, "_SPAWN", SERVER)
