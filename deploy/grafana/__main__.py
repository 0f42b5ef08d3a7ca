"""``python -m deploy.grafana``: writes the dashboards; with ``--check``, says which are not what is committed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deploy.grafana.dashboard import Dashboard
from deploy.grafana.fleet import FLEET
from deploy.grafana.serving import SERVING
from deploy.grafana.slo import SLO
from deploy.grafana.tuning import TUNING

DASHBOARDS: tuple[Dashboard, ...] = (SLO, TUNING, SERVING, FLEET)

FOLDER = Path(__file__).parent / "dashboards"


def file_of(dashboard: Dashboard) -> Path:
    """Where a dashboard's JSON is kept."""
    return FOLDER / f"{dashboard.uid.removeprefix('regulus-')}.json"


def text_of(dashboard: Dashboard) -> str:
    """A dashboard's JSON as it is committed."""
    return json.dumps(dashboard.to_json(), indent=2, ensure_ascii=False) + "\n"


def stale() -> list[Path]:
    """Files that are missing, or hold something else than the modules say."""
    return [
        file_of(dashboard)
        for dashboard in DASHBOARDS
        if not file_of(dashboard).exists() or file_of(dashboard).read_text(encoding="utf-8") != text_of(dashboard)
    ]


def main(arguments: list[str]) -> int:
    """Write what is stale, or only name it."""
    found = stale()
    if arguments == ["--check"]:
        for path in found:
            sys.stdout.write(f"{path.name} is not what the modules say; run python -m deploy.grafana\n")
        return 1 if found else 0
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        file_of(dashboard).write_text(text_of(dashboard), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
