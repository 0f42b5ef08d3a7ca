from __future__ import annotations

from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload
from service.learning.baselines.default import Default
from service.learning.baselines.guide import guide
from service.learning.baselines.oracle import Oracle
from service.learning.space import default_space
from tests.support.searching import LOAD, SLO, at, bowl, grid, played, window

SPACE = default_space(2)
GRID = grid()


def test_the_default_is_kept_however_bad_it_is() -> None:
    policy = Default(SPACE)
    better = SPACE.config(SPACE.points[-1])
    policy.observe(LOAD, better, window(0.001))
    assert set(played(policy, lambda config: 10.0, 5, ServingConfig())) == {ServingConfig()}


def test_the_guide_runs_as_many_batch_threads_as_processors_without_waiting_for_large_batches() -> None:
    first, *rest = played(guide(SPACE), lambda config: 10.0, 4, ServingConfig())
    assert first == ServingConfig()
    assert len(set(rest)) == 1
    config = rest[0]
    assert (config.enable_batching, config.num_batch_threads, config.batch_timeout_micros) == (True, 2, 0)
    assert config.max_batch_size == 128
    assert config.tensorflow_inter_op_parallelism == config.tensorflow_intra_op_parallelism == 0


def test_the_oracle_goes_to_the_true_best_of_each_load_whatever_windows_show() -> None:
    def truth(load: Workload, config: ServingConfig) -> float:
        target = at(4, 3) if load.rate_per_second < 500 else at(0, 0)
        return 0.01 + bowl(GRID.nearest(config)) if target == at(4, 3) else float(sum(GRID.nearest(config)))

    policy = Oracle(GRID, truth)
    start = GRID.config(at(6, 5))
    assert played(policy, lambda c: 1.0 - bowl(GRID.nearest(c)), 1, start)[-1] == GRID.config(at(4, 3))
    assert policy.suggest(Workload(1000.0), start, SLO).config == GRID.config(at(0, 0))
    assert policy.suggest(Workload(310.0), start, SLO).config == GRID.config(at(4, 3))
