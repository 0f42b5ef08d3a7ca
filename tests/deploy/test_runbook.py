"""Alerts and the runbook tell of each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.domain.decision import Reason

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()

ALERTS: list[dict[str, Any]] = [
    rule
    for path in sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
NAMES = {alert["alert"] for alert in ALERTS}
ENTRIES = re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)


def test_every_alert_has_one_entry_and_every_entry_an_alert() -> None:
    assert sorted(ENTRIES) == sorted(NAMES)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_links_to_its_entry_and_says_what_is_wrong(alert: dict[str, Any]) -> None:
    assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    assert alert["labels"]["severity"] in {"page", "ticket"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_entry_says_what_it_means_where_to_look_and_what_to_do(name: str) -> None:
    entry = RUNBOOK.split(f"### {name}\n", 1)[1].split("\n#", 1)[0]
    for part in ("**Meaning.**", "**Look.**", "**Do.**"):
        assert part in entry


def test_links_within_the_runbook_lead_somewhere() -> None:
    for target in re.findall(r"\]\(#([\w-]+)\)", RUNBOOK):
        assert target in {entry.lower() for entry in ENTRIES}


def test_reasons_that_it_names_exist() -> None:
    for reason in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", RUNBOOK):
        assert reason in set(Reason)
