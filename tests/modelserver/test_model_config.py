from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from service.modelserver.flags import parse_flags
from service.modelserver.model_config import (
    ModelConfig,
    PolicyKind,
    VersionPolicy,
    model_configs,
    model_configs_from_proto,
    read_model_config_file,
)
from service.modelserver.status import Code, ServingError

TWO_MODELS = """
model_config_list {
  config {
    name: "first"
    base_path: "/models/first"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 42 versions: 43 } }
    version_labels { key: "stable" value: 42 }
    version_labels { key: "canary" value: 43 }
  }
  config { name: "second" base_path: "/models/second" model_platform: "tensorflow" }
}
"""


def parsed(text: str) -> list[ModelConfig]:
    return model_configs_from_proto(text_format.Parse(text, model_server_config_pb2.ModelServerConfig()))


def one(inner: str) -> ModelConfig:
    (config,) = parsed(
        f'model_config_list {{ config {{ name: "m" base_path: "/m" model_platform: "tensorflow" {inner} }} }}'
    )
    return config


def test_a_file_with_two_models_is_read(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(TWO_MODELS)
    first, second = read_model_config_file(file)
    assert first == ModelConfig(
        name="first",
        base_path=Path("/models/first"),
        policy=VersionPolicy(PolicyKind.SPECIFIC, versions=(42, 43)),
        labels={"stable": 42, "canary": 43},
    )
    assert second == ModelConfig(name="second", base_path=Path("/models/second"))


def test_the_flags_name_one_model_or_a_file(tmp_path: Path) -> None:
    assert model_configs(parse_flags(["--model_base_path=/models/m", "--model_name=m"])) == [
        ModelConfig(name="m", base_path=Path("/models/m"))
    ]
    file = tmp_path / "models.config"
    file.write_text(TWO_MODELS)
    flags = parse_flags([f"--model_config_file={file}", "--model_base_path=/ignored"])
    assert [config.name for config in model_configs(flags)] == ["first", "second"]


def test_an_empty_list_serves_nothing() -> None:
    assert parsed("") == []
    assert parsed("model_config_list {}") == []


def test_a_file_that_is_empty_takes_no_model_away_but_an_empty_list_does(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("# nothing yet\n")
    assert read_model_config_file(file) == []
    with pytest.raises(ServingError, match="only legal to transition from one ModelConfigList to another") as refused:
        read_model_config_file(file, again=True)
    assert refused.value.code is Code.FAILED_PRECONDITION
    file.write_text("model_config_list {}")
    assert read_model_config_file(file, again=True) == []


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("", [5]),
        ("model_version_policy { latest { num_versions: 2 } }", [3, 5]),
        ("model_version_policy { latest { } }", [5]),
        ("model_version_policy { latest { num_versions: 9 } }", [1, 3, 5]),
        ("model_version_policy { all { } }", [1, 3, 5]),
        ("model_version_policy { specific { versions: 3 versions: 4 versions: 3 } }", [3]),
    ],
)
def test_a_version_policy_chooses_among_the_versions_on_disk(policy: str, chosen: list[int]) -> None:
    assert one(policy).policy.choose([5, 1, 3]) == chosen


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" } '
            'config { name: "a" base_path: "/b" model_platform: "tensorflow" } }',
            Code.INVALID_ARGUMENT,
            "Illegal to list model a multiple times in config list",
        ),
        (
            'model_config_list { config { base_path: "/a" model_platform: "tensorflow" } }',
            Code.INVALID_ARGUMENT,
            "needs a name",
        ),
        (
            'model_config_list { config { name: "a" model_platform: "tensorflow" } }',
            Code.INVALID_ARGUMENT,
            "base_path of model a is empty",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" } }',
            Code.INVALID_ARGUMENT,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform.",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" '
            "model_type: TENSORFLOW } }",
            Code.INVALID_ARGUMENT,
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform.",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_type: OTHER } }',
            Code.INVALID_ARGUMENT,
            "not supported",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "caffe" } }',
            Code.INVALID_ARGUMENT,
            "unsupported platform caffe",
        ),
        (
            'model_config_list { config { name: "a" base_path: "gs://b/a" model_platform: "tensorflow" } }',
            Code.UNIMPLEMENTED,
            "must be a local folder, not gs://b/a",
        ),
        (
            'model_config_list { config { name: "a" base_path: "~/a" model_platform: "tensorflow" } }',
            Code.INVALID_ARGUMENT,
            "write it in full: ~/a",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" '
            "model_version_policy { specific { } } } }",
            Code.INVALID_ARGUMENT,
            "names no version",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" '
            "model_version_policy { specific { versions: -1 } } } }",
            Code.INVALID_ARGUMENT,
            "negative version",
        ),
        (
            'custom_model_config { [type.googleapis.com/tensorflow.serving.ModelConfig] { name: "a" } }',
            Code.UNIMPLEMENTED,
            "ModelServer does not yet support custom model config.",
        ),
    ],
)
def test_a_wrong_list_is_refused_with_the_model_at_fault(text: str, code: Code, message: str) -> None:
    with pytest.raises(ServingError) as caught:
        parsed(text)
    assert caught.value.code is code
    assert message in caught.value.message


def test_the_deprecated_model_type_still_means_tensorflow() -> None:
    (config,) = parsed('model_config_list { config { name: "a" base_path: "/a" model_type: TENSORFLOW } }')
    assert config.name == "a"


def test_request_logging_is_noticed() -> None:
    assert one("logging_config { sampling_config { sampling_rate: 0.1 } }").logs_requests
    assert not one("").logs_requests


def test_a_relative_base_path_is_made_absolute() -> None:
    flags = parse_flags(["--model_base_path=models/m"])
    assert model_configs(flags)[0].base_path == Path.cwd() / "models/m"


def test_an_unreadable_file_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("model_config_list {\n  config { nome: 'a' }\n}")
    with pytest.raises(ServingError, match="Invalid protobuf file") as caught:
        read_model_config_file(file)
    assert "2:12" in caught.value.message
