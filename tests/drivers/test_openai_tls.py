"""Servers with certificates: trusted, not trusted, not looked at."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from modules.errors import LoadFailed
from modules.types import GenerationRequest, Message
from modules.web.tls import tls_of
from tests.drivers.openai_making import GOOD, Fake, driver
from tests.engine.making import collect, done_of, failed_of, text_of

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate for these tests"),
]
CHAT = GenerationRequest("t", messages=(Message("user", "Hi"),))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key and a certificate for localhost, signed by itself."""
    folder = tmp_path_factory.mktemp("certificate")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    return key, cert


@asynccontextmanager
async def secure(certificate: tuple[Path, Path]) -> AsyncIterator[Fake]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    fake = Fake(GOOD)
    server = await asyncio.start_server(fake.serve, "localhost", 0, ssl=context)
    fake.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()


async def test_a_certificate_that_is_not_trusted_is_refused_with_the_way_out(certificate: tuple[Path, Path]) -> None:
    async with secure(certificate) as fake:
        engine = driver(fake.url)
        error = failed_of(await collect(engine, CHAT)).error
        await engine.close()
        assert error["code"] == "certificate_bad"
        assert "ca_file" in error["hint"]
        assert not fake.asked, "the key has not been sent"


@pytest.mark.parametrize("how", ["ca_file", "not verified"])
async def test_one_that_is_named_or_not_looked_at_is_used(certificate: tuple[Path, Path], how: str) -> None:
    async with secure(certificate) as fake:
        engine = driver(fake.url, **({"ca_file": str(certificate[1])} if how == "ca_file" else {"verify": False}))
        for _ in range(2):
            chunks = await collect(engine, CHAT)
            assert text_of(chunks) == "Hello"
            done_of(chunks)
        assert fake.connections == 1
        await engine.close()


async def test_a_name_that_is_not_in_the_certificate_is_refused(certificate: tuple[Path, Path]) -> None:
    async with secure(certificate) as fake:
        engine = driver(fake.url.replace("localhost", "127.0.0.1"), ca_file=str(certificate[1]))
        assert failed_of(await collect(engine, CHAT)).error["code"] == "certificate_bad"
        await engine.close()


def test_a_file_without_certificates_is_told(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    for name in ("no.pem", "gone.pem"):
        with pytest.raises(LoadFailed, match="ca_file") as caught:
            tls_of(True, str(tmp_path / name))
        assert caught.value.hint
