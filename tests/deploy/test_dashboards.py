"""Dashboards: the committed JSON is what the modules say, and hangs together. Queries are run in test_queries.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.grafana.__main__ import DASHBOARDS, FOLDER, file_of, main, stale
from deploy.grafana.dashboard import COLUMNS, Dashboard

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
