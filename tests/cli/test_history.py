"""The history out of a running service or a database, into a file, and into another database."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.main import app
from service.domain.decision import Mode
from service.store import Store
from tests.support.api_service import Regulus
from tests.support.history import CONFIG, WORKLOAD, a_decision, a_window


def call(*arguments: str, **more: object) -> Result:
    return CliRunner().invoke(app, ["history", *arguments], **more)  # type: ignore[arg-type]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """URL of a database with two models in it."""
    url = f"sqlite:///{tmp_path}/regulus.db"
    store = Store.open(url)
    for number in range(3):
        store.add_observation("m", WORKLOAD, CONFIG, a_window(number))
        store.add_decision(a_decision(number, model="other"))
    store.put_mode("m", Mode.AUTO)
    store.close()
    return url


def test_a_running_service_hands_out_its_history_and_another_database_takes_it(
    regulus: Regulus, tmp_path: Path
) -> None:
    exported = regulus("history", "export")
    assert exported.exit_code == 0
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    assert {"observation", "decision", "end"} <= {line.get("kind") for line in lines}
    assert regulus("history", "export", "--model", "nobody").stdout.count("\n") == 2

    (tmp_path / "h.jsonl").write_text(exported.stdout)
    target = f"sqlite:///{tmp_path}/other.db"
    taken = regulus("history", "import", str(tmp_path / "h.jsonl"), "--database", target)
    assert taken.exit_code == 0, taken.stderr
    again = regulus("history", "export", "--database", target).stdout.splitlines()
    assert len(again) == len(lines)


def test_importing_twice_changes_nothing(database: str, tmp_path: Path) -> None:
    file, target = tmp_path / "h.jsonl", f"sqlite:///{tmp_path}/new/regulus.db"
    assert call("export", "--database", database, "-o", str(file)).exit_code == 0
    first = call("import", str(file), "--database", target)
    assert first.stdout == ("3 observations, 3 decisions and the state of 1 models were taken in; 0 lines were known\n")
    second = call("import", "-", "--database", target, input=file.read_bytes())
    assert second.stdout == (
        "0 observations, 0 decisions and the state of 0 models were taken in; 7 lines were known\n"
    )
    assert sorted(path.name for path in tmp_path.glob("h*")) == ["h.jsonl"]


def test_the_database_of_the_settings_is_taken_where_none_is_named(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, config = tmp_path / "h.jsonl", tmp_path / "regulus.toml"
    call("export", "--database", database, "-o", str(file))
    config.write_text(
        f'[store]\nurl = "sqlite:///{tmp_path}/configured.db"\n[[models]]\nname = "m"\nagent_url = "http://a"\n'
        'metrics_url = "http://a/m"\nslo = {bound_seconds = 0.05}\n'
    )
    assert call("import", str(file), "--config", str(config)).exit_code == 0
    assert (tmp_path / "configured.db").exists()

    monkeypatch.chdir(tmp_path / "..")
    monkeypatch.delenv("REGULUS_CONFIG", raising=False)
    refused = call("import", str(file))
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: --database is not given, and the settings cannot be read:")


def test_a_bad_line_is_named_and_nothing_is_taken_in(database: str, tmp_path: Path) -> None:
    file, target = tmp_path / "h.jsonl", f"sqlite:///{tmp_path}/new.db"
    call("export", "--database", database, "-o", str(file))
    file.write_text(file.read_text().replace('"cv":', '"cvv":', 1))
    refused = call("import", str(file), "--database", target)
    assert refused.exit_code == 1
    assert re.fullmatch(rf"error: {file}, line 3: observation: .*cvv.*; nothing was taken in\n", refused.stderr)
    assert len(call("export", "--database", target).stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("import", "{tmp}/none.jsonl", "--database", "sqlite://"), r"none\.jsonl cannot be read: No such file"),
        (("export", "--database", "{db}", "-o", "{tmp}/no/h.jsonl"), r"h\.jsonl cannot be written: No such file"),
        (("export", "--database", "mysql://h/n"), "sqlite or postgresql, not mysql"),
        (("export", "--url", "http://127.0.0.1:9"), "no control service at"),
    ],
)
def test_what_cannot_be_reached_is_one_clear_line(
    database: str, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    refused = call(*(word.format(tmp=tmp_path, db=database) for word in arguments))
    assert refused.exit_code in (1, 3)
    assert re.fullmatch(rf"error: .*{complaint}.*\n", refused.stderr)
