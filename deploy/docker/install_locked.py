"""install_locked: puts the part of requirements.lock that one image needs into an environment, hashes checked.

requirements.lock holds every extra and the tools of development; an image wants less. pip itself works out which
packages the named extras need, with the lock's versions as constraints; those lines of the lock, with their hashes,
are then installed and nothing else. So there is one lock, and no second list that could drift from it.

Runs in an image's build stage, where nothing of Regulus is installed yet: standard library and pip only.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: A pin of the lock: ``name==version``, perhaps with a marker, before the hashes that follow on continued lines.
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)\s*(?:;\s*(?P<marker>[^\\]+?))?\s*\\?$")


def read_lock(text: str) -> list[tuple[str, str]]:
    """The lock's entries as (normalised name, whole text with hashes); a name may come twice, under two markers."""
    entries: list[tuple[str, str]] = []
    for line in text.splitlines():
        if pin := _PIN.match(line):
            entries.append((normalised(pin["name"]), line))
        elif line.startswith((" ", "\t")) and entries:
            name, before = entries[-1]
            entries[-1] = (name, f"{before}\n{line}")
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"not a pin: {line!r}")
    return entries


def constraints(entries: Sequence[tuple[str, str]]) -> str:
    """The entries without hashes: pip refuses hashes on constraints of requirements that are not pinned themselves."""
    return "".join(text.splitlines()[0].rstrip(" \\") + "\n" for _, text in entries)


def wanted(project: Mapping[str, Any], extras: Sequence[str]) -> list[str]:
    """What the project itself asks for, with the named extras.

    Raises:
        SystemExit: There is no such extra.
    """
    optional = project["project"]["optional-dependencies"]
    if unknown := [extra for extra in extras if extra not in optional]:
        raise SystemExit(f"pyproject.toml has no extra {', '.join(unknown)}; it has {', '.join(optional)}")
    return [*project["project"]["dependencies"], *(line for extra in extras for line in optional[extra])]


def normalised(name: str) -> str:
    """A project's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def run(pip: Sequence[str], *arguments: str, stdout: int | None = None) -> bytes:
    """What pip wrote, where ``stdout`` asks for it.

    Raises:
        CalledProcessError: pip failed; it has said why.
    """
    command = [*pip, *arguments]
    done = subprocess.run(command, check=True, stdout=stdout)  # noqa: S603 — no shell; of the image's build alone
    return done.stdout or b""


def resolve(pip: Sequence[str], requirements: Sequence[str], constraints_file: Path) -> set[str]:
    """The names of everything that ``requirements`` need here, themselves included. Installs nothing."""
    plan = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = json.loads(run(pip, *plan, "--constraint", str(constraints_file), *requirements, stdout=subprocess.PIPE))
    return {normalised(entry["metadata"]["name"]) for entry in report["install"]}


def main() -> None:
    """Resolve, select, install."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--python", required=True, help="Interpreter of the environment to install into.")
    parser.add_argument("--extra", action="append", default=[], help="Extra of pyproject.toml; may be repeated.")
    parser.add_argument("--only", action="append", help="Install these projects of the lock instead of Regulus's own.")
    options = parser.parse_args()
    here = Path.cwd()
    entries = read_lock((here / "requirements.lock").read_text(encoding="utf-8"))
    requirements = options.only or wanted(tomllib.loads((here / "pyproject.toml").read_text()), options.extra)
    pip = [sys.executable, "-m", "pip", "--python", options.python]
    with tempfile.TemporaryDirectory() as scratch:
        limits = Path(scratch) / "constraints.txt"
        limits.write_text(constraints(entries), encoding="utf-8")
        names = resolve(pip, requirements, limits)
        chosen = Path(scratch) / "locked.txt"
        chosen.write_text("\n".join(text for name, text in entries if name in names) + "\n", encoding="utf-8")
        run(pip, "install", "--require-hashes", "--no-deps", "--requirement", str(chosen))
    run(pip, "check")


if __name__ == "__main__":
    main()
