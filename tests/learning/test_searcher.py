from __future__ import annotations

import pytest

from service.domain.decision import Intent
from service.domain.slo import Slo
from service.domain.workload import Workload
from service.learning.objective import Objective, Score
from service.learning.search import Known, Problem, Search, Steps, Stepwise, Visit
from service.learning.searcher import Searcher
from service.learning.space import Point
from tests.support.searching import LOAD, SLO, at, bowl, grid, problem, visit, window

GRID = grid()
OTHER = Workload(900.0)


class Listed(Search):
    """Measures a list of points, and writes down what it was told."""

    points: tuple[Point, ...] = (at(1, 1), at(2, 2), at(3, 3))

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.told: list[tuple[Point, float]] = []

    def tell(self, visit: Visit, score: float) -> None:
        self.told.append((visit.point, score))

    def ask(self) -> Point | None:
        return next((point for point in self.points if point not in self.problem.known), None)


class Watched(Searcher):
    """A searcher whose searches can be looked at."""

    def __init__(self, **settings: object) -> None:
        self.searches: list[Listed] = []
        super().__init__("watched", GRID, self._start, **settings)  # type: ignore[arg-type]

    def _start(self, problem: Problem) -> Listed:
        self.searches.append(Listed(problem))
        return self.searches[-1]

    def see(self, point: Point, seconds: float, load: Workload = LOAD) -> None:
        self.observe(load, GRID.config(point), window(seconds, load))

    def named(self, incumbent: Point, load: Workload = LOAD, *, explore: bool = True) -> tuple[Point, Intent]:
        answer = self.suggest(load, GRID.config(incumbent), SLO, explore=explore)
        return GRID.nearest(answer.config), answer.intent


def test_windows_of_a_configuration_are_averaged_and_the_error_of_the_mean_falls() -> None:
    known = Known()
    for value in (0.1, 0.2, 0.6):
        known.add(at(1, 1), Score(value, 0.3))
    known.add(at(2, 2), Score(0.25, 0.3))
    assert known.mean(at(1, 1)) == pytest.approx(0.3)
    assert known.sigma(at(1, 1)) == pytest.approx(0.3 / 3**0.5)
    assert known.best() == at(2, 2)


def test_the_search_is_told_the_objectives_scores() -> None:
    policy = Watched()
    policy.see(at(1, 1), 0.025)
    policy.named(at(1, 1))
    assert policy.searches[0].told == [(at(1, 1), Objective(SLO).score(visit(at(1, 1), 0.025).measurement).value)]


def test_it_names_what_the_search_asks_for_then_the_best_and_then_stays() -> None:
    policy = Watched()
    policy.see(at(1, 1), 0.03)
    assert policy.named(at(1, 1)) == (at(2, 2), Intent.EXPLORE)
    policy.see(at(2, 2), 0.01)
    assert policy.named(at(2, 2)) == (at(3, 3), Intent.EXPLORE)
    policy.see(at(3, 3), 0.02)
    assert policy.named(at(3, 3)) == (at(2, 2), Intent.EXPLOIT)
    assert policy.named(at(2, 2)) == (at(2, 2), Intent.STAY)


def test_the_best_is_revised_by_later_windows() -> None:
    policy = Watched()
    for point, seconds in ((at(1, 1), 0.03), (at(2, 2), 0.02), (at(3, 3), 0.024), (at(2, 2), 0.06)):
        policy.see(point, seconds)
    assert policy.named(at(2, 2)) == (at(3, 3), Intent.EXPLOIT)


def test_the_search_starts_over_when_the_load_changes() -> None:
    policy = Watched()
    policy.see(at(1, 1), 0.03)
    policy.see(at(2, 2), 0.03, OTHER)
    assert policy.named(at(2, 2), OTHER)[0] == at(1, 1)
    policy.see(at(1, 1), 0.03, OTHER)
    policy.see(at(1, 1), 0.01)
    policy.named(at(1, 1))
    assert [search.problem.start for search in policy.searches] == [at(2, 2), at(1, 1)]
    assert len(policy.searches[-1].told) == 1


def test_one_odd_window_does_not_end_a_search() -> None:
    policy = Watched()
    policy.see(at(1, 1), 0.03)
    policy.see(at(2, 2), 0.02, OTHER)
    policy.see(at(2, 2), 0.03)
    policy.named(at(2, 2))
    assert [point for point, _ in policy.searches[-1].told] == [at(1, 1), at(2, 2)]


def test_a_search_that_does_not_restart_sees_all_loads() -> None:
    policy = Watched(restarts=False)
    policy.see(at(1, 1), 0.03)
    policy.see(at(2, 2), 0.03, OTHER)
    policy.named(at(2, 2), Workload(50.0))
    assert len(policy.searches[-1].told) == 2


def test_a_search_starts_over_after_its_last_window() -> None:
    policy = Watched(max_windows=3)
    for _ in range(4):
        policy.see(at(1, 1), 0.03)
    policy.named(at(1, 1))
    assert len(policy.searches[-1].told) == 1


def test_another_objective_is_another_search_in_the_same_windows() -> None:
    policy = Watched()
    policy.see(at(1, 1), 0.03)
    policy.named(at(1, 1))
    policy.suggest(LOAD, GRID.config(at(1, 1)), Slo(0.01))
    first, second = (search.told for search in policy.searches)
    assert first[0][0] == second[0][0]
    assert first[0][1] < 0 < second[0][1]


def test_what_is_predicted_of_a_measured_configuration_is_what_was_measured() -> None:
    policy = Watched()
    for _ in range(4):
        policy.see(at(1, 1), 0.03)
    policy.see(at(2, 2), 0.3)
    told = policy.predict(LOAD, GRID.config(at(1, 1)), SLO)
    assert told.predicted_tail is not None
    assert told.predicted_tail.value == pytest.approx(0.03, rel=0.1)
    untold = policy.predict(LOAD, GRID.config(at(5, 5)), SLO)
    assert untold.predicted_tail is not None
    assert untold.predicted_tail.low < 0.03 < 0.3 < untold.predicted_tail.high
    assert untold.confidence < 0.2 < told.confidence


def twice(first: Point, second: Point) -> Steps:
    """Goes to the second point, and back to the first unless that was worse."""
    before = yield first
    if (yield second) < before:
        yield first


def test_a_stepwise_search_that_remembers_asks_for_no_point_twice() -> None:
    search = Stepwise(problem(GRID), twice(at(1, 1), at(2, 2)))
    asked = []
    while (point := search.ask()) is not None:
        asked.append(point)
        search.problem.known.add(point, Score(bowl(point), 0.03))
        search.tell(visit(point, 0.01), bowl(point))
    assert asked == [at(1, 1), at(2, 2)]


def test_one_that_does_not_remember_waits_for_each_window_and_for_no_other() -> None:
    search = Stepwise(problem(GRID), twice(at(1, 1), at(2, 2)), remembers=False)
    for point, following in (
        (at(5, 5), at(1, 1)),
        (at(1, 1), at(2, 2)),
        (at(1, 1), at(2, 2)),
        (at(2, 2), at(1, 1)),
        (at(1, 1), None),
    ):
        search.problem.known.add(point, Score(bowl(point), 0.03))
        search.tell(visit(point, 0.01), bowl(point))
        assert search.ask() == following
