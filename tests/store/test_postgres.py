"""PostgreSQL that dies, or is held up: what was acknowledged stays, errors say what to do, and it goes on by itself."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text

from service.domain.errors import StoreError
from service.store import Store, database
from tests.support.history import CONFIG, WORKLOAD, a_window
from tests.support.postgres import Postgres


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.schema() as made:
        yield made


def test_a_server_that_is_killed_loses_nothing_and_is_found_again(postgres: Postgres, url: str) -> None:
    if not postgres.ours:
        pytest.skip("a server that others use is not killed")
    store = Store.open(url)
    acknowledged: list[int] = []
    plenty = threading.Event()
    complaints: list[str] = []

    def write() -> None:
        try:
            while True:
                acknowledged.append(store.add_observation("m", WORKLOAD, CONFIG, a_window(len(acknowledged) % 50)))
                if len(acknowledged) == 30:
                    plenty.set()
        except StoreError as error:
            complaints.append(str(error))

    writer = threading.Thread(target=write)
    writer.start()
    assert plenty.wait(timeout=60)
    postgres.kill()
    writer.join(timeout=60)
    assert not writer.is_alive()
    with pytest.raises(StoreError, match=r"postgresql\+psycopg://.* failed: .*is the database server running"):
        store.observations("m")
    postgres.start()

    there = [found.id for found in store.replay("m")]
    assert len(complaints) == 1
    assert set(acknowledged) <= set(there)
    assert len(there) <= len(acknowledged) + 1
    assert store.add_observation("m", WORKLOAD, CONFIG, a_window()) > max(there)
    store.close()


def test_a_lock_that_somebody_holds_for_long_is_said(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "STATEMENT_TIMEOUT_SECONDS", 1)
    store = Store.open(url)
    engine = create_engine(url)
    with engine.connect() as other:
        other.execute(text("LOCK TABLE observations IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(StoreError, match=r"statement timeout; .*another session holds a lock"):
            store.add_observation("m", WORKLOAD, CONFIG, a_window())
        other.rollback()
    assert store.add_observation("m", WORKLOAD, CONFIG, a_window()) >= 1
    engine.dispose()
    store.close()


def test_two_imports_at_once_are_one(url: str) -> None:
    source = Store.open("sqlite://")
    for number in range(40):
        source.add_observation("m", WORKLOAD, CONFIG, a_window(number))
    exported = "".join(source.export()).encode()
    source.close()
    store = Store.open(url)
    together = threading.Barrier(3)
    taken: list[int] = []

    def take_in() -> None:
        together.wait(timeout=30)
        taken.append(store.take_in(io.BytesIO(exported)).observations)

    threads = [threading.Thread(target=take_in) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(taken) == [0, 0, 40]
    assert len(list(store.replay("m"))) == 40
    store.close()
