"""What all tests share: reproducible hypothesis, and the reference data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile(
    "default", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("default"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def recordings(root: Path) -> Path:
    """The recorded runs that ship with the repository."""
    return root / "tests" / "recordings"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data: SLOSIM_SHARED, else `shared` beside the repository; tests skip without it."""
    folder = Path(os.environ.get("SLOSIM_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no reference data in {folder} (set SLOSIM_SHARED)")
    return folder
