"""Exposure: which names mean this machine alone, and what listening beyond it takes."""

from __future__ import annotations

import pytest

from service.access.exposure import check_exposure, is_loopback, names_loopback
from service.domain.errors import InvalidValueError

LOCAL = ["127.0.0.1", "127.9.9.9", "localhost", "LocalHost", "::1"]
BEYOND = ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "localhost.example.org", "::ffff:10.0.0.1"]  # noqa: S104 — what must be told from loopback


@pytest.mark.parametrize("host", LOCAL)
def test_loopback_may_be_listened_on_by_all(host: str) -> None:
    assert is_loopback(host)
    check_exposure(host, authenticated=False, field="host", remedy="a token")


@pytest.mark.parametrize("host", BEYOND)
def test_beyond_loopback_takes_authentication(host: str) -> None:
    assert not is_loopback(host)
    check_exposure(host, authenticated=True, field="host", remedy="a token")
    with pytest.raises(InvalidValueError, match="needs a token: set this or that"):
        check_exposure(host, authenticated=False, field="host", remedy="this or that")


@pytest.mark.parametrize(
    ("header", "expected"),
    [("127.0.0.1:80", True), ("[::1]:80", True), ("[::1]", True), ("evil.example:80", False), ("[::2]:80", False)],
)
def test_the_port_of_a_host_header_does_not_matter(header: str, expected: bool) -> None:
    assert names_loopback(header) is expected
