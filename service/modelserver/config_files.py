"""The smaller configuration files: monitoring, TLS, and TensorFlow's session configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.modelserver import textproto
from service.modelserver.flags import ServerFlags
from service.modelserver.metrics_page import DEFAULT_PATH
from service.modelserver.status import Code, ServingError


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """What makes gRPC secure.

    Attributes:
        server_key: Private key, PEM.
        server_cert: Certificate chain, PEM.
        custom_ca: Roots that clients' certificates are checked against, PEM; empty for gRPC's default.
        client_verify: Whether clients must show a certificate.
    """

    server_key: bytes
    server_cert: bytes
    custom_ca: bytes = b""
    client_verify: bool = False


def metrics_path(flags: ServerFlags) -> str | None:
    """Where the metrics page lies on the REST port; None when monitoring_config_file does not turn it on.

    Raises:
        ServingError: The file is missing or wrong.
    """
    if not flags.monitoring_config_file:
        return None
    source = flags.monitoring_config_file
    prometheus = textproto.parse(
        textproto.read(source), textproto.new_message("MonitoringConfig"), source
    ).prometheus_config
    if not prometheus.enable:
        return None
    path: str = prometheus.path or DEFAULT_PATH
    if not path.startswith("/") or path.lower().startswith("/v1/"):
        raise ServingError(
            Code.INVALID_ARGUMENT,
            f"{source}: prometheus_config.path must start with '/' and lie outside /v1/, not {path!r}",
        )
    return path


def tls_config(flags: ServerFlags) -> TlsConfig | None:
    """The keys of ssl_config_file; None without one.

    Raises:
        ServingError: The file is missing or wrong, or holds no key or certificate.
    """
    if not flags.ssl_config_file:
        return None
    source = flags.ssl_config_file
    message = textproto.parse(textproto.read(source), textproto.new_message("SSLConfig"), source)
    for name in ("server_key", "server_cert"):
        if "-----BEGIN" not in getattr(message, name):
            raise ServingError(Code.INVALID_ARGUMENT, f"{source}: {name} must hold PEM text, not a path to it")
    return TlsConfig(
        server_key=message.server_key.encode(),
        server_cert=message.server_cert.encode(),
        custom_ca=message.custom_ca.encode(),
        client_verify=message.client_verify,
    )


def session_config(flags: ServerFlags) -> Any:
    """The ``ConfigProto`` of tensorflow_session_config_file; None without one.

    Raises:
        ServingError: The file is missing or wrong.
    """
    if not flags.tensorflow_session_config_file:
        return None
    # Here, because this imports TensorFlow, which reads its environment at that moment.
    from tensorflow.core.protobuf.config_pb2 import ConfigProto

    source = Path(flags.tensorflow_session_config_file)
    return textproto.parse(textproto.read(source), ConfigProto(), str(source))
