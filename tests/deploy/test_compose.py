"""The container stack as written: what is published, pinned, limited and allowed. test_stack.py runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
EACH = pytest.mark.parametrize("name", sorted(SERVICES))

#: They are done before anything listens.
ONCE = {"token", "export"}


@EACH
def test_nothing_is_published_beyond_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port)


@EACH
def test_images_are_pinned_by_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.search(r":v?\d+\.\d+\.\d+(-[a-z]+)?$", image), image


@EACH
def test_no_service_may_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "user", "devices"} & set(service)
    assert all("docker.sock" not in volume for volume in service.get("volumes", ()))


@EACH
def test_every_service_has_its_limit(name: str) -> None:
    assert "mem_limit" in SERVICES[name]
    assert name in ONCE or "cpus" in SERVICES[name]


@EACH
def test_volumes_are_named_or_files_of_the_repository(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source, _, options = volume.partition(":")
        if source.startswith("./"):
            assert (ROOT / source).exists()
            assert options.endswith(":ro")
        else:
            assert source in STACK["volumes"]


@EACH
def test_a_service_starts_when_what_it_needs_is_well(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] == ("service_completed_successfully" if needed in ONCE else "service_healthy")


def test_targets_that_prometheus_scrapes_are_services() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"][0].split(":")[0] for job in config["scrape_configs"]}
    assert jobs["regulus"] in SERVICES
    assert jobs["modelserver"] in SERVICES
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["alertmanager:9093"]


def test_the_build_context_holds_only_what_images_need() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert {source.removeprefix("./") for source in copied} <= {
        source for source in copied if any(source.startswith(path) for path in let_in)
    }


def test_no_image_is_built_by_root_for_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    runtime = dockerfile.split("AS runtime")[1]
    assert "\nUSER regulus\n" in runtime
    for target in ("control", "embedded", "node"):
        stage = dockerfile.split(f"FROM runtime AS {target}\n")[1].split("\nFROM ")[0]
        assert "USER" not in stage
        assert "HEALTHCHECK" in stage
