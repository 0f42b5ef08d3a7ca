"""The report of the model server's benchmark says what the samples say."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from benchmarks.samples import ECHO, GRPC_ON, REST_ON, Sample, bare_variants, label
from benchmarks.statistics import Estimate
from benchmarks.summary import Summary, Target


def samples(model: str, rates: Mapping[str, float], *, rounds: int = 5, at: int = 64) -> list[Sample]:
    """Every round is slower than the one before it, for everyone alike."""
    return [
        Sample(
            model=model,
            round=number,
            subject=subject,
            concurrency=at,
            requests_per_second=rate / (number + 1),
            p50=0.01,
            p99=0.02,
        )
        for number in range(rounds)
        for subject, rate in rates.items()
    ]


def verdicts(summary: Summary) -> dict[str, str]:
    return {target.name: target.verdict for target in summary.targets()}


def test_the_light_model_is_held_against_the_echo() -> None:
    assert verdicts(Summary(samples("mlp", {GRPC_ON: 80, ECHO: 100}), 0)) == {
        "mlp, 64 clients: gRPC over the echo": "holds"
    }
    assert verdicts(Summary(samples("mlp", {GRPC_ON: 60, ECHO: 100}), 0)) == {
        "mlp, 64 clients: gRPC over the echo": "missed"
    }


def test_the_heavy_model_is_held_against_the_best_way_to_call_the_session() -> None:
    rates = {GRPC_ON: 95, "bare/default/1": 50, "bare/intra1/32": 100, "bare/intra1/8": 90}
    summary = Summary(samples("mobilenet_v2", rates), 0)
    assert summary.best_bare("mobilenet_v2", 64) == "bare/intra1/32"
    [target] = summary.targets()
    assert target.ratio is not None
    assert target.ratio.value == pytest.approx(0.95)
    assert target.verdict == "holds"


def test_rest_is_held_against_every_peer() -> None:
    rates = {REST_ON: 30, "peer/ray": 10, "peer/litserve": 40}
    assert verdicts(Summary(samples("cnn", rates), 0)) == {
        "cnn, 64 clients: REST over litserve, REST": "missed",
        "cnn, 64 clients: REST over ray, REST": "holds",
    }


def test_what_was_not_measured_is_said_so() -> None:
    assert set(verdicts(Summary(samples("mlp", {GRPC_ON: 80}), 0)).values()) == {"not measured"}
    assert set(verdicts(Summary(samples("mlp", {GRPC_ON: 80, ECHO: 1}, at=8), 0)).values()) == {"not measured"}


@pytest.mark.parametrize(("rounds", "verdict"), [(5, "holds"), (2, "undecided")])
def test_few_rounds_decide_nothing(rounds: int, verdict: str) -> None:
    [target] = Summary(samples("mlp", {GRPC_ON: 99, ECHO: 100}, rounds=rounds), 0).targets()
    assert target.verdict == verdict


def test_a_target_inside_the_interval_is_undecided() -> None:
    assert Target("t", 0.7, Estimate(0.75, 0.69, 0.8)).verdict == "undecided"


def test_the_tables_hold_every_row_failures_and_the_clients_limit() -> None:
    found = samples("mlp", {GRPC_ON: 1000, ECHO: 2000, "bare/intra1/32": 4000, "peer/ray": 10, REST_ON: 500})
    found.append(
        Sample(
            model="mlp",
            round=0,
            subject="grpc/batching/typed",
            concurrency=8,
            requests_per_second=700,
            p50=0.0123,
            p99=0.5,
            failed=3,
            client_cpu=0.99,
        )
    )
    speed, ratios, targets = Summary(found, 0).tables()
    rows = {row[0]: row[1:] for row in speed.rows}
    assert rows["Regulus, gRPC typed, batching"] == ["700 * ✗ 3", "12.3 / 500", "–", "–"]
    assert rows["grpc.aio echo"] == ["–", "–", "667", "10.0 / 20.0"]
    assert speed.rows[0][0] == "session call, intra-op 1, batches of 32"
    shown = {row[0]: row[-1] for row in ratios.rows}
    assert shown["Regulus, gRPC tensor_content, batching / grpc.aio echo"].startswith("0.50 [")
    assert shown["Regulus, REST row, batching / ray, REST"].startswith("50.00 [")
    assert [row[-1] for row in targets.rows] == ["missed", "holds"]


def test_ratios_go_into_the_document_with_their_partners() -> None:
    [ratio] = Summary(samples("mlp", {GRPC_ON: 80, ECHO: 100}), 0).ratios()
    assert (ratio["subject"], ratio["against"], ratio["concurrency"]) == (GRPC_ON, ECHO, 64)
    assert ratio["value"] == pytest.approx(0.8)


@pytest.mark.parametrize("at", [1, 2, 8, 64, 500])
def test_hand_made_batches_never_need_more_examples_than_there_are_clients(at: int) -> None:
    variants = bare_variants(at)
    assert all(variant.batch <= at for variant in variants)
    assert len({variant.subject for variant in variants}) == len(variants)


def test_every_subject_has_a_name_of_its_own() -> None:
    subjects = [*(v.subject for v in bare_variants(64)), ECHO, GRPC_ON, REST_ON, "grpc/no batching/typed", "peer/ray"]
    assert len({label(subject) for subject in subjects}) == len(subjects)
