"""A daemon's life over a fake App: bind, start, serve, reload, stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from naru.api.messages import HIJACKED, Answer, Request, Response
from naru.api.router import RouteTable
from naru.daemon import config as configuration
from naru.daemon.config import Config
from naru.daemon.listeners import ListenError
from naru.daemon.notify import ServiceManager
from naru.daemon.options import NARUD
from naru.daemon.serving import Daemon


class FakeApp:
    def __init__(self, *, broken: bool = False) -> None:
        self.router = RouteTable()
        self.calls: list[str] = []
        self.reloaded = asyncio.Event()
        self.config: Config | None = None
        self._broken = broken
        self.router.add("GET", "/_ping", self.ping)
        self.router.add("POST", "/attach", self.attach)

    async def ping(self, request: Request) -> Answer:
        return Response(b"OK")

    async def attach(self, request: Request) -> Answer:
        conn = await request.hijack()
        await conn.read()
        return HIJACKED

    async def start(self) -> None:
        self.calls.append("start")
        if self._broken:
            raise RuntimeError("records are broken")

    async def stop(self) -> None:
        self.calls.append("stop")

    async def reload(self, config: Config) -> None:
        self.config = config
        self.calls.append("reload")
        self.reloaded.set()


class Running:
    def __init__(self, tmp_path: Path, *extra: str, broken: bool = False) -> None:
        self.path = tmp_path / "n.sock"
        self.file = tmp_path / "daemon.json"
        if not self.file.exists():
            self.file.write_text("{}")
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(str(tmp_path / f"notify{os.urandom(4).hex()}"))
        self.notifications.setblocking(False)
        given = configuration.command_line(
            ["-H", f"unix://{self.path}", "--data-root", str(tmp_path / "data"), "-G", "0",
             "--exec-root", str(tmp_path / "exec"), "--config-file", str(self.file), *extra]
        ).given  # fmt: skip
        self.config = configuration.load(NARUD, given, environ={})
        self.app = FakeApp(broken=broken)
        self.daemon = Daemon(
            self.config,
            given=given,
            build=lambda config: self.app,
            manager=ServiceManager({"NOTIFY_SOCKET": self.notifications.getsockname()}),
        )
        self.task = asyncio.create_task(self.daemon.run())

    async def told(self) -> str:
        data = await asyncio.get_running_loop().sock_recv(self.notifications, 4096)
        return data.decode()

    async def stopped(self) -> None:
        self.daemon.request_stop()
        await self.task


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    running = Running(tmp_path)
    async with asyncio.timeout(30):
        yield running
    if not running.task.done():
        await running.stopped()
    running.notifications.close()


async def ping(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
    answer = await reader.read(-1)
    writer.close()
    return answer


async def test_ready_means_that_it_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    running = Running(tmp_path)
    assert await running.told() == f"READY=1\nMAINPID={os.getpid()}"
    assert (await ping(running.path)).endswith(b"OK")
    assert "Daemon has completed initialization" in caplog.text
    assert f"API listen on {running.path}" in caplog.text
    assert running.app.calls == ["start"]
    await running.stopped()
    assert await running.told() == "STOPPING=1"
    assert running.app.calls == ["start", "stop"]
    assert not running.path.exists()
    running.notifications.close()


async def test_sigterm_stops_it(running: Running) -> None:
    await running.told()
    os.kill(os.getpid(), signal.SIGTERM)
    await running.task
    assert running.app.calls == ["start", "stop"]


async def test_stopping_ends_attached_clients(running: Running) -> None:
    await running.told()
    reader, writer = await asyncio.open_unix_connection(str(running.path))
    writer.write(b"POST /attach HTTP/1.1\r\nHost: d\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    running.daemon.request_stop()
    assert await reader.read(-1) == b""
    await running.task
    writer.close()


async def test_sighup_reloads_the_file(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    await running.told()
    running.file.write_text('{"labels": ["a=b"], "mtu": 1300}')
    os.kill(os.getpid(), signal.SIGHUP)
    assert (await running.told()).startswith("RELOADING=1\nMONOTONIC_USEC=")
    await running.app.reloaded.wait()
    assert running.app.config is not None
    assert running.app.config.labels == ("a=b",)
    assert running.app.config.mtu == 1500
    assert (await running.told()).startswith("READY=1")
    running.file.write_text('{"nope": 1}')
    os.kill(os.getpid(), signal.SIGHUP)
    await running.told()
    await running.told()
    assert "don't match any configuration option: nope" in caplog.text
    assert (await ping(running.path)).endswith(b"OK")


async def test_sigusr1_writes_stacks(running: Running) -> None:
    await running.told()
    os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(2):  # the signal's wake-up, then its callback
        await ping(running.path)
    [found] = running.config.exec_root.glob("stacks-*.log")
    text = found.read_text()
    assert "thread MainThread:" in text
    assert "Daemon.run" in text or "serving.py" in text


async def test_an_app_that_fails_to_start_leaves_no_socket(tmp_path: Path) -> None:
    running = Running(tmp_path, broken=True)
    with pytest.raises(RuntimeError, match="records are broken"):
        await running.task
    assert running.app.calls == ["start", "stop"]
    assert not running.path.exists()
    running.notifications.close()


async def test_a_second_daemon_on_the_socket_is_refused(running: Running, tmp_path: Path) -> None:
    await running.told()
    second = Running(tmp_path)
    with pytest.raises(ListenError, match="another daemon is listening"):
        await second.task
    assert (await ping(running.path)).endswith(b"OK")
    second.notifications.close()


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        (["--version"], 0, "Naru version ", ""),
        (["--help"], 0, "Usage:  narud [OPTIONS]", ""),
        (["--nope"], 125, "", "unknown flag: --nope\nSee 'narud --help'."),
        (["-H", "http://x"], 1, "", "invalid bind address format: http://x"),
        (["--validate"], 0, "", "configuration OK"),
        (["--validate", "--config-file=/no"], 1, "", "unable to configure the Naru daemon"),
        (["--bip=10.0.0.1/24", "-b", "x"], 1, "", "You specified -b & --bip"),
    ],
)
def test_the_command(arguments: list[str], code: int, out: str, err: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "naru.daemon.main", *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout[: len(out)]) == (code, out)
    assert done.stderr.startswith(err)


def test_the_command_line_costs_no_heavy_import() -> None:
    code = (
        "import sys, naru.daemon.main, naru.daemon.serving;"
        "print(*sorted({'aiohttp', 'ssl', 'argparse', 'sqlite3', 'zstandard', 'isal',"
        " 'email', 'subprocess'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() in ([], ["ssl", "subprocess"])  # asyncio itself brings these two
