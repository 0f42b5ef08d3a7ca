from __future__ import annotations

import pytest

from service.control.ledger import ledger
from service.domain.decision import Action, Decision, Intent, Mode, Reason, Recommendation
from service.domain.histogram import Histogram, Interval, exponential_bounds
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.domain.window import Window
from service.domain.workload import Workload
from service.store.records import StoredObservation

SLO = Slo(0.05)
KEPT, BETTER = ServingConfig(), ServingConfig(enable_batching=True, max_batch_size=8)
LOAD = Workload(100.0)


def said(at: float, predicted: float | None, action: Action = Action.RECOMMEND) -> Decision:
    tail = None if predicted is None else Interval(predicted / 2, predicted, predicted * 2)
    return Decision(
        decided_at=at,
        model="m",
        mode=Mode.RECOMMEND,
        action=action,
        reason=Reason.SLO_VIOLATED,
        explanation="as told",
        config_before=KEPT,
        config_after=KEPT,
        recommendation=Recommendation(
            config=BETTER, intent=Intent.EXPLOIT, explanation="", workload=LOAD, predicted_tail=tail
        ),
    )


def measured(at: float, tail: float, config: ServingConfig = KEPT) -> StoredObservation:
    window = Window(
        started_at=at,
        duration_seconds=5.0,
        latency=Histogram.of([tail] * 100, exponential_bounds(1e-3, 1.02, 300)),
        workload=LOAD,
        succeeded=100,
    )
    return StoredObservation(id=1, model="m", observed_at=at + 5, workload=LOAD, config=config, window=window)


def test_each_recommendation_is_held_against_what_was_measured_until_the_next():
    book = ledger(
        [said(100, 0.02), said(200, 0.03)],
        [measured(90, 9.0), measured(100, 0.08), measured(150, 0.1), measured(200, 0.04), measured(300, 0.06)],
        SLO,
    )
    newest, oldest = book.entries
    assert (oldest.windows, oldest.violated) == (2, 2)
    assert oldest.measured == pytest.approx(0.09, rel=0.05)
    assert oldest.predicted_gain == pytest.approx(1 - 0.02 / 0.09, abs=0.05)
    assert (newest.windows, newest.violated) == (2, 1)
    assert (book.windows, book.violated, book.avoidable) == (4, 3, 3)


def test_a_violation_is_not_called_avoidable_where_none_was_promised():
    book = ledger([said(100, 0.07), said(200, None)], [measured(100, 0.08), measured(200, 0.08)], SLO)
    assert (book.violated, book.avoidable) == (2, 0)
    assert book.entries[0].predicted_gain is None


def test_what_was_measured_under_another_configuration_does_not_count():
    book = ledger([said(100, 0.02)], [measured(100, 0.08, config=BETTER)], SLO)
    assert book.windows == 0
    assert book.predicted_gain is None


def test_what_was_done_ends_a_recommendation_and_is_none():
    book = ledger([said(100, 0.02), said(150, 0.02, Action.APPLY)], [measured(100, 0.08), measured(160, 0.08)], SLO)
    assert len(book.entries) == 1
    assert book.windows == 1


def test_without_history_it_is_empty():
    assert ledger([], [], SLO).entries == ()
