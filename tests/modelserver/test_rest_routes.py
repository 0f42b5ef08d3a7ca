from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.modelserver.rest_routes import Route, Verb, find_route, is_api_path
from service.modelserver.status import Code, ServingError


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/v1/models/m:predict", Route(Verb.PREDICT, "m", None, None)),
        ("POST", "/v1/models/m/versions/3:classify", Route(Verb.CLASSIFY, "m", 3, None)),
        ("POST", "/v1/models/m/labels/stable:regress", Route(Verb.REGRESS, "m", None, "stable")),
        ("POST", "/V1/MODELS/M:predict", Route(Verb.PREDICT, "M", None, None)),
        ("POST", "/v1/models/a%2Fb%20%C3%BC/labels/x%3Ay:predict", Route(Verb.PREDICT, "a/b ü", None, "x:y")),
        ("POST", "/v1/models/a+b:predict", Route(Verb.PREDICT, "a+b", None, None)),
        ("POST", "/v1/models/m/versions/007:predict", Route(Verb.PREDICT, "m", 7, None)),
        ("GET", "/v1/models/m", Route(Verb.STATUS, "m", None, None)),
        ("HEAD", "/v1/models/m", Route(Verb.STATUS, "m", None, None)),
        ("GET", "/v1/models/m/versions/0", Route(Verb.STATUS, "m", 0, None)),
        ("GET", "/v1/models/m/metadata", Route(Verb.METADATA, "m", None, None)),
        ("GET", "/v1/models/m/labels/s/metadata", Route(Verb.METADATA, "m", None, "s")),
    ],
)
def test_a_path_says_what_is_asked_of_which_model(method: str, path: str, route: Route) -> None:
    assert find_route(method, path) == route


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m:status"),
        ("POST", "/v1/models/m:Predict"),
        ("POST", "/v1/models/m/versions/1/labels/x:predict"),
        ("POST", "/v1/models/m/versions/-1:predict"),
        ("POST", "/v1/models/m/versions/٣:predict"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/m:predict\n"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/model"),
        ("PATCH", "/v1/models/m"),
    ],
)
def test_another_path_or_method_is_malformed(method: str, path: str) -> None:
    with pytest.raises(ServingError) as caught:
        find_route(method, path)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == f"Malformed request: {method} {path}"


@pytest.mark.parametrize("digits", ["9223372036854775808", "9" * 5000])
def test_a_version_beyond_64_bits_is_refused(digits: str) -> None:
    with pytest.raises(ServingError, match="Failed to convert version: 9"):
        find_route("GET", f"/v1/models/m/versions/{digits}")


@given(st.sampled_from(["GET", "POST", "HEAD"]), st.text(max_size=20))
def test_no_path_causes_anything_but_a_clear_error(method: str, rest: str) -> None:
    with contextlib.suppress(ServingError):
        assert find_route(method, "/v1/models/" + rest).name


def test_only_paths_under_v1_belong_to_the_api() -> None:
    assert is_api_path("/v1/anything")
    assert is_api_path("/V1/anything")
    assert not is_api_path("/v1")
    assert not is_api_path("/metrics")
