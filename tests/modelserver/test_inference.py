"""Classify, Regress and MultiInference on a real session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from service.modelserver.inference_service import classify, multi_inference, regress
from service.modelserver.manager import ModelManager
from service.modelserver.status import Code, ServingError
from tests.support.half_plus_two import BATCHED, NAME, UNBATCHED, add_version, model, serving

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


@pytest.fixture(params=[UNBATCHED, BATCHED], ids=["unbatched", "batched"])
async def manager(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ModelManager]:
    add_version(tmp_path / NAME, 123)
    async with serving([model(tmp_path / NAME)], request.param) as started:
        yield started


def examples(*values: float, feature: str = "x") -> Input:
    given = Input()
    for value in values:
        given.example_list.examples.add().features.feature[feature].float_list.value.append(value)
    return given


def tasks(*wanted: tuple[str, str], given: Input, name: str = NAME) -> MultiInferenceRequest:
    request = MultiInferenceRequest(input=given)
    for signature, method in wanted:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = name
        task.model_spec.signature_name = signature
    return request


def classification(signature: str, given: Input) -> ClassificationRequest:
    request = ClassificationRequest(input=given)
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature
    return request


def regression(signature: str, given: Input) -> RegressionRequest:
    request = RegressionRequest(input=given)
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature
    return request


async def test_classify_answers_scores_for_each_example(manager: ModelManager) -> None:
    response = await classify(manager, classification("classify_x_to_y", examples(2, 4, -4)))
    assert [[one.score for one in row.classes] for row in response.result.classifications] == [[3.0], [4.0], [0.0]]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (NAME, 123, "classify_x_to_y")


async def test_regress_answers_a_value_for_each_example(manager: ModelManager) -> None:
    response = await regress(manager, regression("regress_x_to_y2", examples(2, 4)))
    assert [one.value for one in response.result.regressions] == [4.0, 5.0]
    assert response.model_spec.version.value == 123


async def test_features_of_the_context_reach_the_model(manager: ModelManager) -> None:
    given = Input()
    context = given.example_list_with_context.context
    context.features.feature["x"].float_list.value.append(10)
    given.example_list_with_context.examples.add()
    given.example_list_with_context.examples.add().features.feature["x"].float_list.value.append(2)
    response = await regress(manager, regression("regress_x_to_y", given))
    assert [one.value for one in response.result.regressions] == [7.0, 3.0]


async def test_examples_are_counted(manager: ModelManager) -> None:
    await regress(manager, regression("regress_x_to_y", examples(1, 2, 3)))
    assert f'request_example_count_total{{model="{NAME}"}} 3' in manager.metrics.render()


@pytest.mark.parametrize(
    ("signature", "given", "message"),
    [
        ("classify_x_to_y", Input(), "Input is empty."),
        ("nothing", examples(1), "No signature was found with the name: nothing"),
        ("", examples(1), "No classification inputs found in SignatureDef: "),
        ("regress_x_to_y", examples(1), "Expected classification signature outputs to contain at least one of "),
        ("classify_x2_to_y3", examples(1), "Expects inputs to be float but string is provided"),
    ],
)
async def test_a_classification_that_cannot_be_made_says_why(
    manager: ModelManager, signature: str, given: Input, message: str
) -> None:
    with pytest.raises(ServingError) as raised:
        await classify(manager, classification(signature, given))
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.message.startswith(message)


async def test_an_example_without_a_feature_the_model_needs_is_the_models_error(manager: ModelManager) -> None:
    with pytest.raises(ServingError) as raised:
        await regress(manager, regression("regress_x_to_y", examples(1, feature="unknown")))
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert "x" in raised.value.message


async def test_the_model_must_be_named_and_known(manager: ModelManager) -> None:
    nameless, missing, unlabelled = (regression("regress_x_to_y", examples(1)) for _ in range(3))
    nameless.model_spec.Clear()
    nameless.model_spec.SetInParent()
    missing.model_spec.version.value = 7
    unlabelled.model_spec.version_label = "beta"
    for request, code, message in [
        (RegressionRequest(), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (nameless, Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (missing, Code.NOT_FOUND, f"Servable not found for request: Specific({NAME}, 7)"),
        (unlabelled, Code.INVALID_ARGUMENT, "Unrecognized servable version label: beta"),
    ]:
        with pytest.raises(ServingError) as raised:
            await regress(manager, request)
        assert (raised.value.code, raised.value.message) == (code, message)


async def test_method_names_are_checked_where_the_flag_says_so(tmp_path: Path) -> None:
    add_version(tmp_path / NAME, 1)
    async with serving([model(tmp_path / NAME)], enable_signature_method_name_check=True) as strict:
        with pytest.raises(ServingError, match=r"method_name to be tensorflow/serving/classify. Was: "):
            await classify(strict, classification("serving_default", examples(1)))
        await classify(strict, classification("classify_x_to_y", examples(1)))


async def test_several_tasks_are_answered_by_one_run(manager: ModelManager) -> None:
    before = _runs(manager)
    response = await multi_inference(
        manager,
        tasks(
            ("regress_x_to_y", REGRESS),
            ("classify_x_to_y", CLASSIFY),
            ("regress_x_to_y2", REGRESS),
            given=examples(2, 4),
        ),
    )
    assert _runs(manager) == before + 1
    first, second, third = response.results
    assert [one.value for one in first.regression_result.regressions] == [3.0, 4.0]
    assert [row.classes[0].score for row in second.classification_result.classifications] == [3.0, 4.0]
    assert [one.value for one in third.regression_result.regressions] == [4.0, 5.0]
    assert [result.model_spec.signature_name for result in response.results] == [
        "regress_x_to_y",
        "classify_x_to_y",
        "regress_x_to_y2",
    ]
    assert {result.model_spec.version.value for result in response.results} == {123}


async def test_different_tasks_at_the_same_time_do_not_disturb_each_other(manager: ModelManager) -> None:
    answers = await asyncio.gather(
        multi_inference(manager, tasks(("regress_x_to_y", REGRESS), given=examples(2))),
        multi_inference(manager, tasks(("regress_x_to_y2", REGRESS), given=examples(4))),
        multi_inference(manager, tasks(("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY), given=examples(6))),
        regress(manager, regression("regress_x_to_y", examples(8))),
    )
    values = [answer.results[0].regression_result.regressions[0].value for answer in answers[:3]]
    assert values == [3.0, 5.0, 5.0]
    assert answers[3].result.regressions[0].value == 6.0


async def test_the_order_of_tasks_makes_no_difference_to_their_answers(manager: ModelManager) -> None:
    wanted = [("regress_x_to_y", REGRESS), ("regress_x_to_y2", REGRESS)]
    forwards = await multi_inference(manager, tasks(*wanted, given=examples(2)))
    backwards = await multi_inference(manager, tasks(*reversed(wanted), given=examples(2)))
    assert list(forwards.results) == list(reversed(backwards.results))


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (MultiInferenceRequest(), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            tasks(("regress_x_to_y", REGRESS), given=Input()),
            Code.INVALID_ARGUMENT,
            "Input is empty.",
        ),
        (
            tasks(("nothing", REGRESS), given=examples(2)),
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: nothing",
        ),
        (
            tasks(("regress_x_to_y", REGRESS), ("regress_x_to_y", REGRESS), given=examples(2)),
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        (
            tasks(("serving_default", "tensorflow/serving/predict"), given=examples(2)),
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            tasks(("regress_x_to_y", REGRESS), ("regress_x2_to_y3", REGRESS), given=examples(2)),
            Code.INVALID_ARGUMENT,
            "Input tensor must be the same for all Signatures.",
        ),
        (
            tasks(("regress_x_to_y", REGRESS), given=examples(2), name="x"),
            Code.NOT_FOUND,
            "Servable not found for request: Latest(x)",
        ),
    ],
)
async def test_tasks_that_do_not_fit_together_are_refused(
    manager: ModelManager, request_: MultiInferenceRequest, code: Code, message: str
) -> None:
    with pytest.raises(ServingError) as raised:
        await multi_inference(manager, request_)
    assert (raised.value.code, raised.value.message) == (code, message)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("other", "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
        ("", "Found ModelSpec with an empty model name."),
    ],
)
async def test_all_tasks_must_name_one_model(manager: ModelManager, second: str, message: str) -> None:
    request = tasks(("regress_x_to_y", REGRESS), ("regress_x_to_y2", REGRESS), given=examples(2))
    request.tasks[1].model_spec.name = second
    with pytest.raises(ServingError) as raised:
        await multi_inference(manager, request)
    assert (raised.value.code, raised.value.message) == (Code.INVALID_ARGUMENT, message)


def _runs(manager: ModelManager) -> float:
    """Session calls so far."""
    lines = manager.metrics.render().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(":tensorflow:core:graph_runs{"))
