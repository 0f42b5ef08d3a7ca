"""Masking: secrets are hidden by name, by shape and because we know them; the rest stays readable."""

from __future__ import annotations

import pytest

from service.access import redaction
from service.access.tokens import new_secret


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer HUNTER2-HUNTER2",
        "bearer HUNTER2-HUNTER2, and more",
        "postgresql+psycopg://regulus:HUNTER2-HUNTER2@db/regulus",
        "-----BEGIN EC PRIVATE KEY-----\nHUNTER2\n-----END EC PRIVATE KEY-----",
        "cut off: -----BEGIN PRIVATE KEY-----\nHUNTER2",
        "path /v1/rgl_HUNTER2-HUNTER2_HUNTER2/x",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    masked = redaction.mask_text(text)

    assert "HUNTER2" not in masked
    assert redaction.HIDDEN in masked


def test_our_own_tokens_are_hidden_wherever_they_stand() -> None:
    secret = new_secret()

    assert redaction.mask_text(f"wrong: {secret}!") == "wrong: ***!"


def test_a_known_secret_without_a_shape_is_hidden() -> None:
    redaction.register("tr0ub4dor-and-three")

    assert redaction.mask_text("it was tr0ub4dor-and-three.") == "it was ***."


@pytest.mark.parametrize(
    "name", ["token", "auth_token", "Authorization", "api-key", "client_secret", "PASSWORD", "cookies"]
)
def test_values_are_hidden_by_their_names_however_deep(name: str) -> None:
    masked = redaction.mask({"a": [{name: {"deep": "HUNTER2"}}], "plain": "stays"})

    assert masked == {"a": [{name: "***"}], "plain": "stays"}


@pytest.mark.parametrize("name", ["token_file", "tokens_read", "max_batch_size", "secretary"])
def test_other_names_stay(name: str) -> None:
    assert redaction.mask({name: "x"}) == {name: "x"}


def test_what_is_nested_without_end_ends() -> None:
    endless: dict[str, object] = {}
    endless["again"] = endless

    assert "…" in repr(redaction.mask(endless))
