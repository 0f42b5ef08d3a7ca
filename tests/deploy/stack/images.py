"""Images: those of the stack, built from its own Dockerfile; where nothing can be pulled, with stand-ins underneath.

Stand-ins are made of Debian packages and of this repository, and each is real in what the test is about: Debian's
Python under our images, Debian's Prometheus and Alertmanager, and in place of TensorFlow Serving's binary the embedded
server, which takes the same flags. Grafana has no package and is left out.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.deploy.stack.engine import ROOT, Engine, NoEngineError

HERE = Path(__file__).parent
DOCKERFILES = HERE / "images"

#: Laid over docker-compose.yml where images cannot be pulled.
OVERRIDE = HERE / "override.yml"

PYTHON = "python:3.11-slim-bookworm"
PYTHON_STAND_IN = "regulus-test/python"
SERVING_STAND_IN = "regulus-test/serving"

#: What the machine needs beyond Debian's own certificates to reach a package index.
_CERTIFICATES = Path("/usr/local/share/ca-certificates")


def compose_files(docker: Engine) -> list[Path]:
    """Build every image of ours; returns the files that Compose is to be given.

    Raises:
        NoEngineError: No image can be pulled, and no stand-ins can be made.
    """
    files = [ROOT / "docker-compose.yml"]
    made_before = docker.has_image(PYTHON_STAND_IN) and docker.has_image(SERVING_STAND_IN)
    pulled = not made_before and _pull(docker, PYTHON)
    if not pulled:
        _stand_ins(docker)
        files.append(OVERRIDE)
    stand_ins = (f"PYTHON_IMAGE={PYTHON_STAND_IN}", f"SERVING_IMAGE={SERVING_STAND_IN}")
    arguments = [] if pulled else [part for one in stand_ins for part in ("--build-arg", one)]
    for target in ("control", "embedded", "node"):
        docker.docker("build", *arguments, "--target", target, "--tag", f"regulus/{target}:0.1.0", ROOT, timeout=1800)
    if not pulled:
        _build(docker, "node", "regulus-test/node")
    return files


def _pull(docker: Engine, name: str) -> bool:
    """Whether images can be pulled here."""
    try:
        docker.docker("pull", name, timeout=300)
    except (AssertionError, subprocess.TimeoutExpired):
        return False
    return True


def _stand_ins(docker: Engine) -> None:
    if not docker.has_image("regulus-test/debian"):
        _debian(docker)
    _build(docker, "python", PYTHON_STAND_IN, certificates=True)
    _build(docker, "prometheus", "regulus-test/prometheus")
    _build(docker, "alertmanager", "regulus-test/alertmanager")
    _build(docker, "serving", SERVING_STAND_IN)


def _debian(docker: Engine) -> None:
    """A minimal Debian, from the machine's own mirror."""
    if shutil.which("debootstrap") is None:
        raise NoEngineError("no image can be pulled, and debootstrap is not installed to make one")
    with tempfile.TemporaryDirectory() as scratch:
        command = ["debootstrap", "--variant=minbase", "--include=ca-certificates,wget", "bookworm", scratch]
        _succeed([*command, "http://deb.debian.org/debian"])
        packed = Path(scratch).with_suffix(".tar")
        try:
            _succeed(["tar", "--directory", scratch, "--create", "--file", str(packed), "."])
            docker.docker("import", packed, "regulus-test/debian")
        finally:
            packed.unlink(missing_ok=True)


def _build(docker: Engine, name: str, tag: str, *, certificates: bool = False) -> None:
    """Build a stand-in from its Dockerfile and, where it installs from an index, the machine's own certificates."""
    with tempfile.TemporaryDirectory() as context:
        shutil.copy(DOCKERFILES / f"{name}.Dockerfile", Path(context) / "Dockerfile")
        (Path(context) / "certificates").mkdir()
        if certificates and _CERTIFICATES.is_dir():
            for file in _CERTIFICATES.glob("*.crt"):
                shutil.copy(file, Path(context) / "certificates")
        docker.docker("build", "--tag", tag, context, timeout=900)


def _succeed(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise NoEngineError(f"{command[0]} failed: {(done.stderr or done.stdout)[-500:]}")
