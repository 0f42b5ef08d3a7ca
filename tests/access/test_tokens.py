"""Tokens: what is kept of them, which one counts, and what each scope allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.scopes import Scope
from service.access.tokens import Token, Tokens, bearer, check_secret, digest_of, new_secret
from service.domain.errors import InvalidValueError


def _token(name: str, secret: str, scope: Scope = Scope.READ, expires_at: float | None = None) -> Token:
    return Token(name, scope, digest_of(secret), created_at=0.0, expires_at=expires_at)


@pytest.mark.parametrize(
    ("held", "allowed"),
    [
        (Scope.READ, {Scope.READ}),
        (Scope.OPERATE, {Scope.READ, Scope.OPERATE}),
        (Scope.ADMIN, {Scope.READ, Scope.OPERATE, Scope.ADMIN}),
    ],
)
def test_a_scope_includes_the_lesser_ones(held: Scope, allowed: set[Scope]) -> None:
    assert {needed for needed in Scope if held.allows(needed)} == allowed


def test_secrets_are_long_and_never_the_same_and_are_not_kept() -> None:
    secrets = {new_secret() for _ in range(100)}
    token = _token("ci", next(iter(secrets)))

    assert len(secrets) == 100
    assert min(len(secret) for secret in secrets) >= 4 + 43  # 256 bits
    assert next(iter(secrets)) not in repr(token)


@given(st.text())
def test_only_the_whole_secret_is_found(guess: str) -> None:
    whole = "rgl_0123456789abcdef"
    tokens = Tokens([_token("other", "another-one-altogether"), _token("ci", whole)])

    found = tokens.find(guess, now=1.0)

    assert found is None or guess == whole
    assert (tokens.find(whole, now=1.0) or _token("none", "")).name == "ci"


def test_a_token_counts_until_it_expires() -> None:
    tokens = Tokens([_token("ci", "secret", expires_at=10.0)])

    assert tokens.find("secret", now=9.99) is not None
    assert tokens.find("secret", now=10.0) is None


def test_names_and_secrets_are_told_apart() -> None:
    with pytest.raises(InvalidValueError, match="same name"):
        Tokens([_token("ci", "a"), _token("ci", "b")])
    with pytest.raises(InvalidValueError, match="same secret"):
        Tokens([_token("a", "s"), _token("b", "s")])


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "a\nb", "a" * 65, "é"])
def test_names_are_harmless_in_logs(name: str) -> None:
    with pytest.raises(InvalidValueError, match="name"):
        _token(name, "s")


@pytest.mark.parametrize(
    "secret", ["short", "with spaces in between", "ünicode-but-long-enough", "tab\tin-the-middle-of-it"]
)
def test_what_cannot_be_a_token_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        check_secret("field", secret)

    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
        ("abc", None),
    ],
)
def test_the_secret_is_taken_from_the_header(header: str, expected: str | None) -> None:
    assert bearer(header) == expected
