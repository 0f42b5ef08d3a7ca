"""Dashboards: the committed JSON is what the modules say, and hangs together. Queries are run in test_queries.py."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.__main__ import DASHBOARDS, FOLDER, file_of, main, stale
from deploy.grafana.dashboard import COLUMNS, Dashboard
from deploy.grafana.panel import happened
from deploy.grafana.tuning import BATCH_SIZE

ALL = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)


def test_what_is_committed_is_what_the_modules_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().out
    assert {path.name for path in FOLDER.glob("*.json")} == {file_of(dashboard).name for dashboard in DASHBOARDS}


def test_drift_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("deploy.grafana.__main__.FOLDER", tmp_path)
    assert main([]) == 0
    assert not stale()
    changed = file_of(DASHBOARDS[0])
    changed.write_text(changed.read_text().replace("Regulus", "regulus"))
    assert stale() == [changed]
    assert main(["--check"]) == 1


def test_identifiers_are_unique() -> None:
    assert len({dashboard.uid for dashboard in DASHBOARDS}) == len(DASHBOARDS)
    assert len({dashboard.title for dashboard in DASHBOARDS}) == len(DASHBOARDS)


@ALL
def test_panels_have_numbers_of_their_own_and_do_not_overlap(dashboard: Dashboard) -> None:
    panels = dashboard.to_json()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@ALL
def test_everything_goes_through_the_chosen_data_source(dashboard: Dashboard) -> None:
    sources = [value for key, value in _walk(dashboard.to_json()) if key == "datasource"]
    assert sources
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


@ALL
def test_variables_that_are_used_are_offered_and_those_offered_used(dashboard: Dashboard) -> None:
    text = json.dumps(dashboard.to_json())
    offered = {variable.name for variable in dashboard.variables}
    used = set(re.findall(r"\$([a-z]\w*)", text)) - {"datasource"}
    assert used == offered


@ALL
def test_titles_tell_the_panels_apart(dashboard: Dashboard) -> None:
    titles = [panel.title for panel in dashboard.panels()]
    assert len(set(titles)) == len(titles)


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and its value, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


def _shows(expr: str, at: str, *values: float) -> dict[str, Any]:
    samples = [{"labels": f'{{r="{name}"}}', "value": value} for name, value in zip("ab", values, strict=False)]
    return {"expr": expr.replace("$__interval", "1m").replace("$model", "m"), "eval_time": at, "exp_samples": samples}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_a_counter_that_begins_at_one_has_happened_once_and_batching_off_is_a_batch_of_one(tmp_path: Path) -> None:
    counts, of = happened("c", "r"), 'regulus_config_value{model="m", r="a", knob='
    cases = {
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "5s",
                "input_series": [
                    {"series": 'c{r="a"}', "values": "_x13 1x30"},
                    {"series": 'c{r="b"}', "values": "0x13 1x3 2x30"},
                    {"series": f'{of}"max_batch_size"}}', "values": "1000x10 8x30"},
                    {"series": f'{of}"enable_batching"}}', "values": "0x10 1x30"},
                ],
                "promql_expr_test": [
                    _shows(counts, "2m", 1, 2),
                    _shows(counts, "3m", 0, 0),
                    _shows(f"max by (r) ({BATCH_SIZE})", "30s", 1),
                    _shows(f"max by (r) ({BATCH_SIZE})", "2m", 8),
                ],
            }
        ],
    }
    file = tmp_path / "cases.yml"
    file.write_text(yaml.safe_dump(cases))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
