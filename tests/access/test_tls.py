"""TLS from files: who is trusted, what is refused, and certificates that are renewed while they are in use."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.access.tls import CertificateWatch, client_context, server_context
from service.domain.errors import InvalidValueError
from tests.support.certificates import Authority


@contextlib.asynccontextmanager
async def _listening(context: ssl.SSLContext) -> AsyncIterator[int]:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _greeted(port: int, context: ssl.SSLContext) -> tuple[bytes, str]:
    """What the server says, and the name in its certificate."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        name = dict(pair[0] for pair in writer.get_extra_info("peercert")["subject"])["commonName"]
        return await reader.read(), name
    finally:
        writer.close()


async def _refused(port: int, context: ssl.SSLContext) -> bool:
    """Whether nothing was said; with TLS 1.3 the client hears of its refusal when it reads."""
    try:
        return (await _greeted(port, context))[0] == b""
    except (ssl.SSLError, ConnectionError):
        return True


async def test_a_client_trusts_only_the_authority_it_was_given(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    pair = ours.pair("server")

    async with _listening(server_context(pair.certificate, pair.key, field="f")) as port:
        assert await _greeted(port, client_context(ours.certificate, field="f")) == (b"hello", "server")
        for stranger in (client_context(other.certificate, field="f"), client_context(field="f")):
            with pytest.raises(ssl.SSLCertVerificationError):
                await _greeted(port, stranger)


async def test_with_mutual_tls_only_those_with_a_certificate_of_the_authority_get_an_answer(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    pair, client, stranger = ours.pair("server"), ours.pair("client"), other.pair("stranger")
    trusted = ours.certificate

    async with _listening(server_context(pair.certificate, pair.key, trusted, field="f")) as port:
        known = client_context(trusted, client.certificate, client.key, field="f")
        assert await _greeted(port, known) == (b"hello", "server")
        for context in (
            client_context(trusted, field="f"),
            client_context(trusted, stranger.certificate, stranger.key, field="f"),
        ):
            assert await _refused(port, context)


async def test_a_renewed_certificate_is_used_and_half_of_one_is_not(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    first, second = ours.pair("first"), ours.pair("second")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    shutil.copy(first.certificate, certificate)
    shutil.copy(first.key, key)
    context = server_context(certificate, key, field="f")
    watch = CertificateWatch(context, certificate, key)
    client = client_context(ours.certificate, field="f")

    async with _listening(context) as port:
        names = [(await _greeted(port, client))[1]]
        taken = [watch.refresh()]
        shutil.copy(second.certificate, certificate)
        taken.append(watch.refresh())
        names.append((await _greeted(port, client))[1])
        shutil.copy(second.key, key)
        taken.append(watch.refresh())
        names.append((await _greeted(port, client))[1])

    assert names == ["first", "first", "second"]
    assert taken == [False, False, True]


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    one, two = ours.pair("one"), ours.pair("two")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")

    with pytest.raises(InvalidValueError, match=r"server\.tls: .*nowhere"):
        server_context(tmp_path / "nowhere", one.key, field="server.tls")
    with pytest.raises(InvalidValueError, match=r"one\.crt and .*two\.key"):
        server_context(one.certificate, two.key, field="server.tls")
    with pytest.raises(InvalidValueError, match=r"rubbish\.pem"):
        client_context(rubbish, field="agents")
