"""TLS with half-close: raw clients over memory BIOs, and the real docker CLI."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.edge import Edge

from naru.api.messages import HIJACKED, Answer, Hijacked, Request, Response

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

ATTACH = (
    b"POST /containers/x/attach HTTP/1.1\r\nHost: docker\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a self-signed certificate that is its own CA, for localhost."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.copy(directory / "cert.pem", directory / "ca.pem")
    return directory


async def listen(edge: Edge, certificates: Path, *, verify: bool = False) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    if verify:
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    sock = socket.create_server(("127.0.0.1", 0))
    await edge.server.listen(sock, tls=context)
    return int(sock.getsockname()[1])


class TlsClient:
    """A blocking client that can half-close, as Go's can."""

    def __init__(self, port: int, certificates: Path) -> None:
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.receive()
        self.flush()

    def flush(self) -> None:
        self.sock.sendall(self.outgoing.read())

    def receive(self) -> None:
        data = self.sock.recv(65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.flush()

    def half_close(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()

    def pieces(self) -> Iterator[bytes]:
        while True:
            try:
                data = self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.receive()
                continue
            except ssl.SSLZeroReturnError:
                return
            if not data:
                return
            yield data

    def rest(self) -> bytes:
        return b"".join(self.pieces())


async def echo(conn: Hijacked) -> None:
    while data := await conn.read():
        await conn.write(data)
    await conn.write(b"<eof>")


def route_attach(edge: Edge) -> None:
    async def attach(request: Request) -> Answer:
        await echo(await request.hijack())
        return HIJACKED

    edge.route("POST", "/containers/{id}/attach", attach)


async def test_requests_over_tls(edge: Edge, certificates: Path) -> None:
    async def handler(request: Request) -> Answer:
        return Response({"size": len(await request.body())})

    edge.route("POST", "/thing", handler)
    port = await listen(edge, certificates)

    def talk() -> bytes:
        client = TlsClient(port, certificates)
        client.send(
            b"POST /thing HTTP/1.1\r\nHost: d\r\nContent-Length: 3000000\r\nConnection: close"
            b"\r\n\r\n" + bytes(3_000_000)
        )
        answer = client.rest()
        client.sock.close()
        return answer

    assert (await asyncio.to_thread(talk)).endswith(b'{"size":3000000}')


async def test_close_notify_is_a_half_close(edge: Edge, certificates: Path) -> None:
    route_attach(edge)
    port = await listen(edge, certificates)
    data = os.urandom(4 << 20)

    def talk() -> bytes:
        client = TlsClient(port, certificates)
        client.send(ATTACH + b"early ")
        client.half_close()
        answer = client.rest()
        client.sock.close()
        return answer

    def bulk() -> bytes:
        client = TlsClient(port, certificates)
        client.send(ATTACH)
        got = b""
        for start in range(0, len(data), 1 << 20):
            client.send(data[start : start + (1 << 20)])
            while len(got.partition(b"\r\n\r\n")[2]) < start + (1 << 20):
                got += next(client.pieces())
        client.half_close()
        got += client.rest()
        client.sock.close()
        return got

    assert (await asyncio.to_thread(talk)).endswith(b"\r\n\r\nearly <eof>")
    assert (await asyncio.to_thread(bulk)).endswith(b"\r\n\r\n" + data + b"<eof>")


async def test_the_servers_half_close_is_a_close_notify(edge: Edge, certificates: Path) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def attach(request: Request) -> Answer:
        conn = await request.hijack()
        await conn.write(b"all there is")
        conn.write_eof()
        got.set_result(await conn.read())
        return HIJACKED

    edge.route("POST", "/containers/{id}/attach", attach)
    port = await listen(edge, certificates)

    def talk() -> bytes:
        client = TlsClient(port, certificates)
        client.send(ATTACH)
        answer = client.rest()
        client.send(b"and back")
        client.sock.close()
        return answer

    assert (await asyncio.to_thread(talk)).endswith(b"all there is")
    assert await got == b"and back"


async def test_what_is_not_tls_is_hung_up_on(edge: Edge, certificates: Path) -> None:
    port = await listen(edge, certificates)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
    await reader.read(-1)
    writer.close()
    assert edge.server.connections == 0


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs the docker CLI")
@pytest.mark.parametrize("trusted", [True, False])
async def test_the_docker_cli_over_verified_tls(
    edge: Edge, certificates: Path, tmp_path: Path, trusted: bool
) -> None:
    """An attach without stdin half-closes at once: its output must come all the same."""

    async def ping(request: Request) -> Answer:
        return Response(b"OK")

    async def inspect(request: Request) -> Answer:
        state = {"Running": True, "Status": "running", "Pid": 1}
        return Response({"Id": "x", "State": state, "Config": {"Tty": True}, "HostConfig": {}})

    async def attach(request: Request) -> Answer:
        conn = await request.hijack("application/vnd.docker.raw-stream")
        assert await conn.read() == b""
        await conn.write(b"output after the client's end\n")
        return HIJACKED

    async def wait(request: Request) -> Answer:
        return Response({"StatusCode": 0})

    edge.route("HEAD", "/_ping", ping)
    edge.route("GET", "/containers/{id}/json", inspect)
    edge.route("POST", "/containers/{id}/attach", attach)
    edge.route("POST", "/containers/{id}/wait", wait)
    port = await listen(edge, certificates, verify=True)
    authority = ["--tlscacert", str(certificates / "ca.pem")]
    identity = [
        "--tlscert", str(certificates / "cert.pem"), "--tlskey", str(certificates / "key.pem"),
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "docker", "--config", str(tmp_path), "--tlsverify", *authority,
        *(identity if trusted else []), "-H", f"tcp://127.0.0.1:{port}",
        "attach", "--no-stdin", "x",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    if trusted:
        assert (process.returncode, out, err) == (0, b"output after the client's end\n", b"")
    else:
        assert process.returncode != 0
        assert b"certificate" in err
