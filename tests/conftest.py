from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


# A busy machine is no fault of the code under test.
settings.register_profile("cvlab", deadline=None)
settings.load_profile("cvlab")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("CVLAB_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def real_data() -> Path:
    """The folder of real data that `CVLAB_DATA` names; the test is skipped without it."""
    folder = os.environ.get("CVLAB_DATA")
    if not folder:
        pytest.skip("CVLAB_DATA names no folder of real data")
    return Path(folder).resolve()
