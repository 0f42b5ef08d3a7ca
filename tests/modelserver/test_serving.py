"""Putting the server together: what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.modelserver.flags import ServerFlags
from service.modelserver.serving import serve
from service.modelserver.status import ServingError
from tests.support.processes import free_port


async def test_a_wrong_monitoring_file_is_found_before_models_are_looked_for(tmp_path: Path) -> None:
    file = tmp_path / "monitoring.pbtxt"
    file.write_text("prometheus_config { enabled: yes }")
    flags = ServerFlags(
        port=free_port(),
        rest_api_port=free_port(),
        model_base_path=str(tmp_path / "nowhere"),
        monitoring_config_file=str(file),
    )
    with pytest.raises(ServingError, match=r"monitoring\.pbtxt"):
        await serve(flags)
