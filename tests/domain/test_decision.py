from __future__ import annotations

import json
import math

from service.domain.decision import Intent, Reason, Recommendation
from service.domain.histogram import Interval
from service.domain.serving_config import ServingConfig
from service.domain.workload import Workload


def test_a_recommendation_survives_json() -> None:
    full = Recommendation(
        config=ServingConfig(instances=2),
        intent=Intent.EXPLORE,
        explanation="an untried neighbour",
        workload=Workload(10.0, 2.0, 3.0),
        predicted_tail=Interval(0.01, 0.02, math.inf),
        confidence=0.3,
        acceptable={"instances": (1, 4)},
    )
    assert Recommendation.from_dict(json.loads(json.dumps(full.to_dict(), allow_nan=False))) == full


def test_a_recommendation_without_a_prediction_survives_json() -> None:
    bare = Recommendation(config=ServingConfig(), intent=Intent.STAY, explanation="", workload=Workload(0.0))
    assert Recommendation.from_dict(json.loads(json.dumps(bare.to_dict()))) == bare


def test_every_reason_says_what_it_means() -> None:
    meanings = [reason.meaning for reason in Reason]
    assert all(meanings)
    assert len(set(meanings)) == len(Reason)
