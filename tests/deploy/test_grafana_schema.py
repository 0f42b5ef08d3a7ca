"""Dashboards against Grafana's own types: a wrong type or an unknown key does not compile.

Needs npm and its registry, so ``make test-stack`` runs it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.grafana.__main__ import DASHBOARDS

HERE = Path(__file__).parent / "grafana_schema"

#: Visualisation → where its types are, and whether they describe the fields' own settings too.
VISUALS = {
    "timeseries": ("timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen", True),
    "stat": ("stat/panelcfg/x/StatPanelCfg_types.gen", False),
    "state-timeline": ("statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen", True),
    "heatmap": ("heatmap/panelcfg/x/HeatmapPanelCfg_types.gen", True),
    "table": ("table/panelcfg/x/TablePanelCfg_types.gen", True),
}

_TYPES = "@grafana/schema/dist/types/raw"

#: Enumerations of Grafana's types as the text that JSON holds for them.
_PLAIN = """
type Plain<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        os.environ.get("STACK_TESTS") != "1", reason="downloads Grafana's types from npm: make test-stack"
    ),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
]


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Grafana's types can be imported."""
    folder = tmp_path_factory.mktemp("types")
    for file in HERE.glob("package*.json"):
        shutil.copy(file, folder)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"npm's registry cannot be reached: {done.stderr[-200:]}")
    return folder


def _errors(folder: Path, source: str) -> str:
    """What the compiler says of it; nothing when it is well."""
    (folder / "check.ts").write_text(source)
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--moduleResolution", "node10"]
    done = subprocess.run(["node_modules/.bin/tsc", *options, "check.ts"], cwd=folder, capture_output=True, text=True)
    return done.stdout


def _source(dashboards: list[dict[str, Any]]) -> str:
    lines = [f"import type {{ Dashboard, Panel, RowPanel }} from '{_TYPES}/dashboard/x/dashboard_types.gen';"]
    for kind, (module, fields) in VISUALS.items():
        name = kind.replace("-", "")
        lines.append(f"import type {{ Options as {name}Options }} from '{_TYPES}/composable/{module}';")
        if fields:
            lines.append(f"import type {{ FieldConfig as {name}Fields }} from '{_TYPES}/composable/{module}';")
    lines.append(_PLAIN)
    for number, dashboard in enumerate(dashboards):
        panels = dashboard["panels"]
        # What a data source adds to an annotation is its own business, and not in these types.
        own = {"expr", "step", "titleFormat", "textFormat", "tagKeys", "useValueForTime"}
        marks = [{k: v for k, v in one.items() if k not in own} for one in dashboard["annotations"]["list"]]
        whole = {**dashboard, "panels": [], "annotations": {"list": marks}}
        lines.append(f"const dashboard{number} = {json.dumps(whole)} satisfies Plain<Dashboard>;")
        for panel in panels:
            place = f"d{number}p{panel['id']}"
            if panel["type"] == "row":
                lines.append(f"const {place} = {json.dumps(panel)} satisfies Plain<RowPanel>;")
                continue
            name = panel["type"].replace("-", "")
            options, custom = panel["options"], panel["fieldConfig"]["defaults"]["custom"]
            lines.append(f"const {place} = {json.dumps(panel)} satisfies Plain<Panel>;")
            lines.append(f"const {place}o = {json.dumps(options)} satisfies Partial<Plain<{name}Options>>;")
            if VISUALS[panel["type"]][1]:
                lines.append(f"const {place}f = {json.dumps(custom)} satisfies Partial<Plain<{name}Fields>>;")
            else:
                assert custom == {}
    return "\n".join(lines) + "\n"


def test_dashboards_are_what_grafana_takes(types: Path) -> None:
    assert _errors(types, _source([dashboard.to_json() for dashboard in DASHBOARDS])) == ""


def test_a_wrong_type_and_an_unknown_key_are_noticed(types: Path) -> None:
    dashboard = DASHBOARDS[0].to_json()
    panels = [panel for panel in dashboard["panels"] if panel["type"] == "timeseries"]
    panels[0]["options"]["legend"]["placement"] = "somewhere"
    panels[1]["fieldConfig"]["defaults"]["custom"]["lineWith"] = 1
    dashboard["schemaVersion"] = "forty-one"
    said = _errors(types, _source([dashboard]))
    for fault in ("somewhere", "lineWith", "'string' is not assignable to type 'number'"):
        assert fault in said
