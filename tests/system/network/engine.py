"""A networks service with real records and a real kernel, in a namespace of the test's own.

The namespace belongs to one thread and the threads it starts, so the host sees nothing of it, and
the kernel takes all of it away when the thread ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from naru.engine.containers.containers import Containers
from naru.engine.containers.live import Lives
from naru.engine.networking.settings import NetworkSettings
from naru.engine.networks import Networks
from naru.engine.tasks import Tasks
from naru.kernel.syscalls import checked, libc
from naru.network import namespaces
from naru.network.backends import data_plane
from naru.network.rtnetlink import RouteSocket, link_up
from naru.spec.containers import (
    ContainerConfig,
    ContainerRecord,
    ContainerState,
    HostConfig,
    Status,
)
from naru.spec.errors import Unavailable
from naru.spec.networks import EndpointSettings
from naru.store.records import Records, put


class Host:
    """What one daemon would have; several may follow one another on the same directories."""

    def __init__(self, root: Path, backend: str = "") -> None:
        self.root = root
        self.backend = backend
        self.records: Records
        self.networks: Networks
        self.tasks: Tasks
        self.containers: Containers
        self._servers: list[asyncio.subprocess.Process] = []

    async def start(
        self, settings: NetworkSettings | None = None, *, iptables: bool = True
    ) -> None:
        exec_root = self.root / "exec"
        exec_root.mkdir(exist_ok=True)
        self.records = await asyncio.to_thread(Records.open, self.root / "records.db")
        self.tasks = Tasks()
        self.containers = Containers(records=self.records, lives=Lives())
        self.plane = data_plane(exec_root=exec_root, iptables=iptables, backend=self.backend)
        self.networks = Networks(
            records=self.records,
            plane=self.plane,
            containers=self.containers,
            tasks=self.tasks,
            settings=settings or NetworkSettings(bridge="naru-test0"),
            directory=lambda container_id: self.root / "containers" / container_id,
        )
        await self.networks.start()

    async def stop(self) -> None:
        await self.networks.stop()
        await self.tasks.close()
        await self.records.close()

    async def container(
        self,
        name: str,
        *,
        endpoints: dict[str, EndpointSettings] | None = None,
        config: ContainerConfig | None = None,
        **host: object,
    ) -> ContainerRecord:
        """A record as create makes it."""
        container_id = (name.encode().hex() * 64)[:64]
        mode = str(host.get("network_mode", "bridge"))
        record = ContainerRecord(
            id=container_id,
            name=name,
            created=0,
            image_id="",
            chain_id="",
            driver="vfs",
            config=config or ContainerConfig(hostname=container_id[:12]),
            host_config=HostConfig(**{"network_mode": mode, **host}),
            path="true",
            args=[],
            endpoints=endpoints if endpoints is not None else {mode: EndpointSettings()},
        )
        await self.records.commit(put(self.records.containers, record))
        return record

    async def run(self, record: ContainerRecord) -> ContainerRecord:
        """Attach, and save as a start does."""
        attachment = await self.networks.attach(record)
        started = msgspec.structs.replace(
            record,
            endpoints=dict(attachment.endpoints),
            state=ContainerState(status=Status.RUNNING),
        )
        return await self.containers.save(started)

    async def inside(self, record: ContainerRecord, *argv: str, timeout: float = 60) -> str:
        """The output of a command in the container's namespace."""
        path = self.root / "exec" / "netns" / record.id
        return await command("nsenter", f"--net={path}", *argv, timeout=timeout)

    async def serve(self, record: ContainerRecord, port: int, answer: str) -> None:
        """One TCP answer at a port inside, then nothing more; returns once it listens."""
        path = self.root / "exec" / "netns" / record.id
        argv = ["nsenter", f"--net={path}", "busybox", "nc", "-l", "-p", str(port)]
        self._servers.append(await asyncio.create_subprocess_exec(*argv, "-e", "echo", answer))
        async with asyncio.timeout(60):
            # The kernel announces no listener, so there is nothing else to wait for.
            while not await self._listens(record, port):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def end_servers(self) -> None:
        """Also those that nobody has asked."""
        for server in self._servers:
            with contextlib.suppress(ProcessLookupError):
                server.kill()
            await server.wait()

    async def _listens(self, record: ContainerRecord, port: int) -> bool:
        sockets = await self.inside(record, "cat", "/proc/net/tcp", "/proc/net/tcp6")
        return any(
            line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
            for line in sockets.splitlines()
            if ":" in line
        )


async def command(*argv: str, timeout: float = 60) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    async with asyncio.timeout(timeout):
        output, _ = await process.communicate()
    return output.decode()


async def fetch(address: str, port: int) -> str:
    """What a server on this host, as the thread sees it, answers."""
    return (await command("busybox", "nc", "-w", "30", address, str(port))).strip()


def on_a_host_of_its_own(
    root: Path, work: Callable[[Host], Awaitable[None]], *, backend: str = ""
) -> None:
    """Run `work` in a fresh network namespace, with loopback up, in a thread that ends with it.

    Where the kernel lacks the `backend` that is asked for by name, the test is skipped.
    """
    failure: list[BaseException] = []

    async def main() -> None:
        host = Host(root, backend)
        try:
            await work(host)
        finally:
            await host.end_servers()
            for path in (root / "exec" / "netns").glob("*"):  # of a test that failed
                namespaces.unname(path)

    def enter() -> None:
        try:
            checked(libc.unshare(0x40000000), "unshare")
            routes = RouteSocket()
            routes.call(link_up(1))
            routes.close()
            asyncio.run(main())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failure:
        if backend == "nftables" and isinstance(failure[0], Unavailable):
            pytest.skip(str(failure[0]))
        raise failure[0]
