"""One recorded landscape, as a short scenario."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.replay.scenarios import Scenario
from benchmarks.replay.world import Terrain, objective, terrains
from service.domain.slo import Slo

NAME = "transformer-40"
LANDSCAPES = Path(__file__).parents[3] / "benchmarks" / "landscapes"


@pytest.fixture(scope="session")
def known() -> Mapping[str, Terrain]:
    return terrains(LANDSCAPES, (NAME,))


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return Scenario("stationary", NAME, (NAME,) * 12)


@pytest.fixture(scope="session")
def slo(known: Mapping[str, Terrain], scenario: Scenario) -> Slo:
    return objective(scenario, known)
