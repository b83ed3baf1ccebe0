from __future__ import annotations

import os
from collections.abc import Iterator
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


@pytest.fixture(autouse=True, scope="module")
def _coarse_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where networks are trained nobody looks at the pictures: fewer pixels are drawn in half the time."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("tensorflow"):
            patch.setattr("cvlab.plots.DPI", 50)
        yield
