"""The budget counts what broke the objective, at the pace of the SRE workbook's alarms."""

from __future__ import annotations

import pytest

from service.control.error_budget import BudgetState, Burn, ErrorBudget
from service.domain.slo import Slo

SLO = Slo(0.05, target_ratio=0.99)
DAY = 86_400.0
MONTH = 30 * DAY


def budget_after(*stretches: tuple[float, float], scale: float = 1.0, period: float = MONTH) -> BudgetState:
    """After stretches of (seconds, share that broke the bound), 100 requests a second, windows of up to a minute."""
    budget, now = ErrorBudget(period, scale), 0.0
    for seconds, bad in stretches:
        length = min(60.0, seconds / 10)
        for _ in range(round(seconds / length)):
            now += length
            budget.add(now, length, round(100 * length), bad)
    return budget.state(SLO, now)


def test_before_the_first_window_nothing_is_known():
    state = ErrorBudget(MONTH).state(SLO, 100.0)
    assert state.remaining_ratio is None
    assert state.burn is Burn.HEALTHY
    assert set(state.rates) == {"5m", "1h", "30m", "6h"}


def test_exactly_what_is_allowed_burns_at_one_and_leaves_nothing_after_the_period():
    state = budget_after((DAY, 0.01), period=DAY)
    assert state.rates == pytest.approx(dict.fromkeys(state.rates, 1.0), rel=0.02)
    assert state.remaining_ratio == pytest.approx(0.0, abs=0.01)
    assert state.burn is Burn.HEALTHY


@pytest.mark.parametrize(("bad", "burn"), [(0.15, Burn.FAST), (0.10, Burn.SLOW), (0.03, Burn.HEALTHY)])
def test_the_level_follows_the_rate(bad, burn):
    assert budget_after((6 * 3600, bad)).burn is burn


def test_fast_needs_the_long_stretch_to_burn_as_well():
    assert budget_after((DAY, 0.0), (300, 1.0)).burn is Burn.HEALTHY
    assert budget_after((DAY, 0.0), (600, 1.0)).burn is Burn.FAST


def test_fast_ends_soon_after_the_burning_does():
    assert budget_after((DAY, 0.0), (600, 1.0), (240, 0.0)).burn is Burn.FAST
    assert budget_after((DAY, 0.0), (600, 1.0), (330, 0.0)).burn is not Burn.FAST


def test_a_service_that_just_began_has_not_burnt_an_hours_budget():
    assert budget_after((120, 1.0)).burn is Burn.HEALTHY
    assert budget_after((600, 1.0)).burn is Burn.FAST


def test_the_stretches_scale_together():
    assert budget_after((3600, 0.0), (8, 1.0), scale=0.02).burn is Burn.HEALTHY
    assert budget_after((3600, 0.0), (20, 1.0), scale=0.02).burn is Burn.FAST


def test_a_bad_day_of_a_month_spends_its_share():
    state = budget_after((10 * DAY, 0.0), (DAY, 0.1))
    assert state.remaining_ratio == pytest.approx(1 - 10 / 30, abs=0.02)
    assert state.known_seconds == pytest.approx(11 * DAY, rel=0.001)


def test_overspent_is_negative():
    state = budget_after((DAY, 0.05), period=DAY)
    assert state.remaining_ratio == pytest.approx(-4.0, abs=0.1)


def test_what_is_older_than_the_period_is_forgotten():
    assert budget_after((DAY, 1.0), (1.1 * DAY, 0.0), period=DAY).remaining_ratio == pytest.approx(1.0)


def test_silence_burns_nothing():
    budget = ErrorBudget(MONTH)
    budget.add(3600.0, 3600.0, 100_000, 1.0)
    assert budget.state(SLO, 3600.0).burn is Burn.FAST
    assert budget.state(SLO, 3600.0 + 2 * 21_600.0).rates["6h"] == 0.0
    assert budget.state(SLO, 3600.0 + 2 * 21_600.0).burn is Burn.HEALTHY


def test_it_does_not_grow_without_end():
    budget = ErrorBudget(MONTH)
    for i in range(10_000):
        budget.add(i * 300.0, 300.0, 1, 0.5)
    assert len(budget._recent._buckets) + len(budget._all._buckets) < 3_000


def test_it_is_told_in_words():
    assert budget_after((600, 1.0)).describe().startswith("fast: 100 × over 5m, 16.7 × over 1h")
