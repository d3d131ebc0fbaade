"""A registry behind TLS: its authority, and our certificate, are in certs.d/<host:port>."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.registry.endpoints import Resolver
from naru.registry.repository import Repository
from naru.registry.transport import Transport
from naru.registry.upload import Uploader
from naru.spec.errors import NaruError
from naru.spec.reference import parse
from tests.system.images.loopback_registry import loopback_registry

pytestmark = pytest.mark.skipif(
    not (shutil.which("docker-registry") and shutil.which("openssl")),
    reason="needs docker-registry and openssl",
)

_NAME = "registry.test"  # not loopback's, which need not prove anything


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A registry that shows a certificate and wants one -> (where they are, its port)."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "client"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
             f"subjectAltName=DNS:{_NAME}", "-keyout", folder / f"{name}.key",
             "-out", folder / f"{name}.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
    tls = {
        "certificate": str(folder / "server.crt"),
        "key": str(folder / "server.key"),
        "clientcas": [str(folder / "client.crt")],
    }
    with loopback_registry(folder, tls=tls) as port:
        yield folder, port


def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the registry's name lead to loopback, in this process."""
    found = socket.getaddrinfo

    def answer(host: object, *rest: object, **options: object) -> object:
        named = "127.0.0.1" if host in (_NAME, _NAME.encode()) else host
        return found(named, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


async def _manifest_pushed(certs: Path, port: int, insecure: tuple[str, ...] = ()) -> None:
    resolver = Resolver(certs=certs, insecure=insecure)
    transport = Transport(resolver=resolver, user_agent="naru/test")
    try:
        repository = Repository(transport, parse(f"{_NAME}:{port}/tls/app:1"), push=True)
        uploader = await Uploader.open(repository)
        assert not await uploader.has("sha256:" + "0" * 64)
    finally:
        await transport.close()


async def test_certificates_are_found(
    made: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, port = made
    _known(monkeypatch)
    own = tmp_path / f"{_NAME}:{port}"
    own.mkdir()
    with pytest.raises(NaruError, match="certificate"):
        await _manifest_pushed(tmp_path, port)
    shutil.copy(folder / "server.crt", own / "ca.crt")
    with pytest.raises(NaruError):  # it is trusted, and does not trust us
        await _manifest_pushed(tmp_path, port)
    shutil.copy(folder / "client.crt", own / "client.cert")
    with pytest.raises(NaruError, match="missing key client"):
        await _manifest_pushed(tmp_path, port)
    shutil.copy(folder / "client.key", own / "client.key")
    await _manifest_pushed(tmp_path, port)
    (own / "ca.crt").unlink()
    await _manifest_pushed(tmp_path, port, insecure=(f"{_NAME}:{port}",))
