from __future__ import annotations

import importlib.util
import logging

import pytest

pytest.importorskip("optuna")

from service.learning.baselines.optuna_search import optuna_gp, optuna_tpe
from tests.support.searching import at, bowl, grid, played

GRID = grid()
START = GRID.config(at(0, 0))


def test_it_finds_nearly_the_best_keeps_it_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        configs = played(optuna_tpe(GRID, 0, trials=25), lambda c: 0.01 * 2.718 ** bowl(GRID.nearest(c)), 28, START)
    assert len(set(configs)) == 25
    assert bowl(GRID.nearest(configs[-1])) <= 0.2
    assert len(set(configs[-3:])) == 1
    assert not [record for record in caplog.records if record.name.startswith("optuna")]


def test_without_pytorch_the_gaussian_process_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.learning.baselines.optuna_search.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install torch"):
        optuna_gp(GRID)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
def test_the_gaussian_process_finds_nearly_the_best() -> None:
    configs = played(optuna_gp(GRID, 0, trials=18), lambda c: 0.01 * 2.718 ** bowl(GRID.nearest(c)), 20, START)
    assert bowl(GRID.nearest(configs[-1])) <= 0.2
