"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from served import ExpertServer

# On a busy machine an example takes as long as it takes: no test asserts on a clock.
settings.register_profile("imprint", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("imprint")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests keep scans of skills in a folder of their own, and so do the processes that they start."""
    os.environ["IMPRINT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExpertServer]:
    """A server process with the household's expert as its model, for the tests of one file."""
    with ExpertServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def alfworld_data() -> Path:
    """The folder with ALFWorld's games (`json_2.1.1/`, `train.jsonl.gz`); the test is skipped without it."""
    folder = Path(os.environ.get("IMPRINT_ALFWORLD_DATA", ROOT.parent / "shared" / "data" / "alfworld"))
    if not folder.is_dir():
        pytest.skip(f"no ALFWorld games at {folder}: set IMPRINT_ALFWORLD_DATA")
    return folder
