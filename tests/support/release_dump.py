"""Writes dumps of databases with some history, as the present schema keeps it, into tests/store/releases.

``python -m tests.support.release_dump SQLITE_FILE POSTGRES_URL`` before the schema is changed after a release: both are
to be empty, and pg_dump to be at hand. From the dumps tests bring every released schema forward.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

from sqlalchemy import make_url

from service.domain.decision import Action, Mode
from service.domain.slo import Slo
from service.store import Store
from tests.support.history import CONFIG, WORKLOAD, a_decision, a_window
from tests.support.manual_clock import ManualClock

RELEASES = Path(__file__).parents[1] / "store" / "releases"


def write_history(url: str) -> None:
    """What the test of migrations expects to find; ids do not begin at 1, for something was dropped."""
    store = Store.open(url, clock=ManualClock())
    for number in range(3):
        store.add_observation("m", WORKLOAD, CONFIG, a_window(number))
    store.add_observation("other", WORKLOAD, CONFIG, a_window(3))
    store.add_decision(a_decision(0))
    store.add_decision(a_decision(1, action=Action.APPLY))
    store.add_decision(a_decision(2, model="other"))
    store.put_slo("m", Slo(0.05))
    store.put_mode("m", Mode.AUTO)
    store.put_incumbent("m", CONFIG, 7)
    store.put_last_known_good("m", CONFIG)
    store.prune("m", keep_observations=2, keep_holds=100)
    store.close()


def main(file: str, url: str) -> None:
    """Write both dumps."""
    write_history(f"sqlite:///{file}")
    raw = sqlite3.connect(file)
    sqlite = "\n".join(raw.iterdump()) + "\n"
    raw.close()
    write_history(url)
    libpq = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    command = ["pg_dump", "--inserts", "--no-owner", libpq]
    dumped = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # Without what belongs to the session, and without the name of the schema, so that a test may choose another.
    noise = re.compile(r"$|--|SET |\\|SELECT .*set_config")
    postgresql = "\n".join(line for line in dumped.splitlines() if not noise.match(line)).replace("public.", "") + "\n"
    version = re.findall(r"regulus_schema_version\W+VALUES ?\('(\w+)'\)", sqlite)[0]
    for dialect, dump in (("sqlite", sqlite), ("postgresql", postgresql)):
        (RELEASES / f"{version}.{dialect}.sql").write_text(dump, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
