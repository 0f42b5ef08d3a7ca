from __future__ import annotations

import math
from typing import Any

import pytest

from service.domain.errors import InvalidValueError
from service.domain.slo import Slo


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bound_seconds", 0.0),
        ("bound_seconds", -1.0),
        ("bound_seconds", 3601.0),
        ("bound_seconds", math.inf),
        ("bound_seconds", math.nan),
        ("bound_seconds", "0.05"),
        ("bound_seconds", True),
        ("percentile", 99),
        ("percentile", 0.49),
        ("percentile", 1.0),
        ("target_ratio", 0.0),
        ("target_ratio", 1.0),
        ("target_ratio", None),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Slo(**{"bound_seconds": 0.05, field: value})
    assert caught.value.field == field
    assert str(value) in caught.value.message


def test_an_objective_survives_its_dict() -> None:
    slo = Slo(0.05, 0.999, 0.995)
    assert Slo.from_dict(slo.to_dict()) == slo


def test_people_read_milliseconds() -> None:
    assert Slo(0.05).describe() == "p99 ≤ 50 ms"
    assert Slo(0.0125, 0.999).describe() == "p99.9 ≤ 12.5 ms"
