"""What the documents of deployment name exists: commands, options, settings, knobs, files, variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from service.cli import node
from service.cli.main import COMMANDS
from service.control.settings import LoopSettings, ModelSettings
from service.domain.serving_config import ServingConfig

ROOT = Path(__file__).parents[2]
DOCS = {path.stem: path.read_text() for path in (ROOT / "docs").glob("*.md")}
OURS = ("runbook", "control", "tensorflow-serving", "docker")
EACH = pytest.mark.parametrize("name", OURS)


@EACH
def test_commands_exist(name: str) -> None:
    named = re.findall(r"\bregulus ([a-z]+(?:-[a-z]+)*)\b", "\n".join(_code(DOCS[name])))
    assert named
    assert set(named) <= set(COMMANDS)


@EACH
def test_settings_exist(name: str) -> None:
    for section, setting in re.findall(r"`(loop|models)\.(\w+)`", DOCS[name]):
        known = LoopSettings if section == "loop" else ModelSettings
        assert setting in known.model_fields


@EACH
def test_links_and_files_exist(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", DOCS[name]):
        assert (ROOT / "docs" / target).exists(), target
    for path in re.findall(r"`(deploy/[\w./-]+)`", DOCS[name]):
        assert (ROOT / path).exists(), path


def test_options_of_the_node_exist() -> None:
    command = typer.main.get_command(node.app)
    options = {option for parameter in command.params for option in parameter.opts}
    text = DOCS["tensorflow-serving"]
    after = re.findall(r"regulus node (.*?)(?: --(?:\s|`|$))", text.replace("\\\n", " "))
    assert after
    for line in after:
        assert set(re.findall(r"--[a-z0-9-]+", line)) <= options


def test_every_knob_is_described() -> None:
    table = DOCS["tensorflow-serving"].split("## The knobs")[1]
    described = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert described == set(ServingConfig.__dataclass_fields__)


def test_every_variable_of_the_stack_is_described() -> None:
    files = ("docker-compose.yml", "deploy/docker/embedded.yml")
    used = {name for file in files for name in re.findall(r"\$\{(\w+):-", (ROOT / file).read_text())}
    described = set(re.findall(r"`([A-Z][A-Z_0-9]+)`", DOCS["docker"].split("## What can be chosen")[1]))
    assert described == used


def _code(text: str) -> list[str]:
    """What is set as code: fenced blocks and spans."""
    fenced = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return fenced + spans
