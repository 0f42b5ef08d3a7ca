"""How requests name what they want, and answers what they got."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from service.modelserver.model_spec import chosen_version, required_spec, resolved, servable_for
from service.modelserver.status import ServingError
from tests.support.half_plus_two import NAME, add_version, model, serving


def test_a_request_must_have_a_spec() -> None:
    request = PredictRequest()
    with pytest.raises(ServingError, match=r"^Missing ModelSpec$"):
        required_spec(request)
    request.model_spec.SetInParent()
    assert required_spec(request) == ModelSpec()


def test_a_version_is_chosen_by_number_by_label_or_not_at_all() -> None:
    spec = ModelSpec(name="m")
    assert chosen_version(spec) == (None, None)
    spec.version.value = 0
    assert chosen_version(spec) == (0, None)
    spec.version_label = "stable"
    assert chosen_version(spec) == (None, "stable")


async def test_the_answer_names_version_and_signature(tmp_path: Path) -> None:
    add_version(tmp_path / NAME, 3)
    async with serving([model(tmp_path / NAME)]) as manager:
        spec = ModelSpec(name=NAME)
        answer = resolved(spec, servable_for(manager, spec))
        assert (answer.name, answer.version.value, answer.signature_name) == (NAME, 3, "serving_default")
        spec.signature_name = "regress_x_to_y"
        assert resolved(spec, servable_for(manager, spec)).signature_name == "regress_x_to_y"
