"""``make audit``: look the locked dependencies up among known vulnerabilities, by pip-audit.

Exit status: 0 when none is known or nobody could be asked, 1 when one is. ``--strict`` fails too when a dependency
could not be looked up: no answer is no good one, but it must not stop work where there is no network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = "requirements.lock"

#: Vulnerabilities that do not concern Regulus: id → why.
IGNORED: Mapping[str, str] = {}

_TIMEOUT_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Attributes:
        looked_up: How many dependencies could be looked up.
        missing: Names of those that could not.
        vulnerable: One line a vulnerability.
    """

    looked_up: int
    missing: tuple[str, ...]
    vulnerable: tuple[str, ...]


def read(document: Mapping[str, Any]) -> Audit:
    """Read pip-audit's JSON."""
    missing, vulnerable, looked_up = [], [], 0
    for dependency in document["dependencies"]:
        if "skip_reason" in dependency:
            missing.append(str(dependency["name"]))
            continue
        looked_up += 1
        for found in dependency["vulns"]:
            if found["id"] not in IGNORED and not IGNORED.keys() & set(found.get("aliases", ())):
                fixed = ", ".join(found["fix_versions"]) or "no version"
                vulnerable.append(f"{dependency['name']} {dependency['version']}: {found['id']}, mended in {fixed}")
    return Audit(looked_up, tuple(missing), tuple(vulnerable))


def ask(pip_audit: Path) -> Audit | str:
    """Run pip-audit on the lock file; text when it could not do its work."""
    command = [str(pip_audit), "--requirement", LOCK, "--require-hashes", "--disable-pip", "--format", "json"]
    try:
        ended = subprocess.run(  # noqa: S603 — a list without a shell: a program of this environment, and constants
            [*command, "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        return read(json.loads(ended.stdout))
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"pip-audit did not run to its end: {error}"
    except (ValueError, KeyError, TypeError):
        return (ended.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]


def main() -> int:
    """Audit, tell, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--strict", action="store_true", help="fail when a dependency could not be looked up")
    strict = parser.parse_args().strict
    found = ask(Path(sys.executable).with_name("pip-audit"))
    if isinstance(found, str):
        print(f"audit: NOTHING WAS LOOKED UP: {found}")
        return int(strict)
    for line in found.vulnerable:
        print(f"vulnerable: {line}")
    count = len(found.vulnerable)
    if found.looked_up:
        print(f"audit: {found.looked_up} dependencies looked up, {count or 'no'} known vulnerabilities")
    if found.missing:
        shown = ", ".join(found.missing[:8]) + (", …" if len(found.missing) > 8 else "")
        print(f"audit: {len(found.missing)} COULD NOT BE LOOKED UP, nothing is known of them: {shown}")
    return int(bool(found.vulnerable) or (strict and bool(found.missing)))


if __name__ == "__main__":
    sys.exit(main())
