"""The audit of dependencies: what pip-audit says is neither lost nor taken for more than it is."""

from __future__ import annotations

from pathlib import Path

from deploy import audit
from deploy.audit import Audit


def test_vulnerabilities_and_what_could_not_be_looked_up_are_told_apart() -> None:
    found = audit.read(
        {
            "dependencies": [
                {"name": "fine", "version": "1.0", "vulns": []},
                {
                    "name": "bad",
                    "version": "2.0",
                    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"], "description": "…"}],
                },
                {"name": "unknown", "skip_reason": "Dependency not found on PyPI"},
            ]
        }
    )

    assert found == Audit(2, ("unknown",), ("bad 2.0: PYSEC-1, mended in 2.1",))


def test_a_program_that_is_not_there_is_no_clean_bill(tmp_path: Path) -> None:
    found = audit.ask(tmp_path / "pip-audit")

    assert isinstance(found, str)
    assert "did not run" in found
