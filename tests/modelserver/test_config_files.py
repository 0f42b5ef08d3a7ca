from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.modelserver.config_files import metrics_path, session_config, tls_config
from service.modelserver.flags import ServerFlags
from service.modelserver.status import ServingError

PEM = "-----BEGIN CERTIFICATE-----\\nabc\\n-----END CERTIFICATE-----\\n"


def flags_with(tmp_path: Path, flag: str, text: str) -> ServerFlags:
    file = tmp_path / "file.txt"
    file.write_text(text)
    changes: dict[str, Any] = {flag: str(file)}
    return replace(ServerFlags(model_base_path="/m"), **changes)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true, path: "/m" }', "/m"),
        ('prometheus_config { path: "/m" }', None),
        ("", None),
    ],
)
def test_the_monitoring_file_turns_the_page_on_and_names_its_path(tmp_path: Path, text: str, path: str | None) -> None:
    assert metrics_path(flags_with(tmp_path, "monitoring_config_file", text)) == path


def test_without_a_monitoring_file_there_is_no_page() -> None:
    assert metrics_path(ServerFlags(model_base_path="/m")) is None


@pytest.mark.parametrize("path", ["metrics", "/v1/models", "/V1/x"])
def test_a_metrics_path_must_not_shadow_the_api(tmp_path: Path, path: str) -> None:
    flags = flags_with(tmp_path, "monitoring_config_file", f'prometheus_config {{ enable: true path: "{path}" }}')
    with pytest.raises(ServingError, match=r"prometheus_config\.path must start with '/' and lie outside /v1/"):
        metrics_path(flags)


def test_tls_keys_are_read(tmp_path: Path) -> None:
    text = f'server_key: "{PEM}" server_cert: "{PEM}" client_verify: true'
    config = tls_config(flags_with(tmp_path, "ssl_config_file", text))
    assert config is not None
    assert config.server_key.startswith(b"-----BEGIN")
    assert config.client_verify
    assert tls_config(ServerFlags(model_base_path="/m")) is None


def test_a_path_instead_of_a_key_is_refused(tmp_path: Path) -> None:
    text = f'server_key: "/etc/key.pem" server_cert: "{PEM}"'
    with pytest.raises(ServingError, match="server_key must hold PEM text"):
        tls_config(flags_with(tmp_path, "ssl_config_file", text))


def test_the_session_configuration_is_tensorflows_own_message(tmp_path: Path) -> None:
    text = "intra_op_parallelism_threads: 3 graph_options { rewrite_options { disable_meta_optimizer: true } }"
    config = session_config(flags_with(tmp_path, "tensorflow_session_config_file", text))
    assert config.intra_op_parallelism_threads == 3
    assert config.graph_options.rewrite_options.disable_meta_optimizer
    assert session_config(ServerFlags(model_base_path="/m")) is None


def test_a_wrong_session_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="Invalid protobuf file"):
        session_config(flags_with(tmp_path, "tensorflow_session_config_file", "threads: 3"))
