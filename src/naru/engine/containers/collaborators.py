"""What the container verbs need from the adapters and the other services, and no more.

The verbs name these shapes instead of the concrete classes so that they can be tested with fakes:
no root, no kernel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from naru.engine.containers.intake import Intake
from naru.engine.containers.streams import Stdio
from naru.spec.containers import ContainerRecord, LogConfig
from naru.spec.images import ImageRecord
from naru.spec.networks import EndpointSettings
from naru.spec.oci import ImageConfig, Platform
from naru.spec.volumes import VolumeRecord
from naru.store.driver import Change, Usage


class _StdioControl(Protocol):
    """`exec_id` None is the container's own process."""

    async def resize(
        self, container_id: str, exec_id: str | None, height: int, width: int
    ) -> None: ...

    async def close_stdin(self, container_id: str, exec_id: str | None = None) -> None: ...


class Runtime(_StdioControl, Protocol):
    def expect_start(self) -> None:
        """A start is being prepared: costs nothing, and saves the start some time."""

    async def run(
        self,
        container_id: str,
        bundle: Path,
        *,
        tty: bool,
        stdin: bool,
        config: Mapping[str, Any] | None = None,
    ) -> tuple[int, Stdio]: ...

    async def kill(self, container_id: str, signal: int, *, all: bool = False) -> None: ...

    async def pause(self, container_id: str) -> None: ...

    async def resume(self, container_id: str) -> None: ...

    async def delete(self, container_id: str) -> None:
        """Idempotent: also of a container that the runtime never knew."""

    async def update(self, container_id: str, resources: Mapping[str, Any]) -> None: ...

    async def pids(self, container_id: str) -> list[int]: ...


class ExecRuntime(_StdioControl, Protocol):
    async def exec(
        self,
        container_id: str,
        exec_id: str,
        process: Mapping[str, Any],
        *,
        tty: bool,
        stdin: bool,
    ) -> tuple[int, Stdio]: ...


class Supervised(Protocol):
    """A process that the supervisor keeps: a container's, or an exec's in it."""

    @property
    def container_id(self) -> str: ...

    @property
    def exec_id(self) -> str | None: ...

    @property
    def pid(self) -> int: ...


class Exit(Supervised, Protocol):
    """What the supervisor tells of a process that ended."""

    @property
    def status(self) -> int:
        """As the shell counts: 128 + N for signal N."""

    @property
    def at(self) -> int:
        """ns since the epoch"""


class Layers(Protocol):
    def acquire(self, chain: str) -> None: ...

    def release(self, chain: str) -> None: ...

    async def create_writable(
        self,
        container_id: str,
        chain_id: str,
        *,
        size: int | None = None,
        record: Callable[[], Awaitable[None]] = ...,
    ) -> None: ...

    async def mount(self, container_id: str) -> Path: ...

    async def unmount(self, container_id: str) -> None: ...

    def look(self, container_id: str) -> AbstractAsyncContextManager[Path]: ...

    async def remove_writable(self, container_id: str) -> None: ...

    async def usage(self, container_id: str) -> Usage: ...

    async def changes(self, container_id: str) -> list[Change]: ...

    def data(self, container_id: str) -> dict[str, str]: ...


class Attachment(Protocol):
    """A container's place in its networks; `netns` is None in the host's namespace."""

    @property
    def netns(self) -> Path | None: ...

    @property
    def endpoints(self) -> Mapping[str, EndpointSettings]: ...


class NetworkFiles(Protocol):
    """The contents of a container's /etc/hosts, /etc/resolv.conf and /etc/hostname."""

    @property
    def hosts(self) -> str: ...

    @property
    def resolv_conf(self) -> str: ...

    @property
    def hostname(self) -> str: ...


class Networks(Protocol):
    async def attach(self, container: ContainerRecord) -> Attachment: ...

    async def detach(self, container_id: str) -> None: ...

    def files(self, container: ContainerRecord) -> NetworkFiles: ...

    def settings(self, container: ContainerRecord) -> dict[str, Any]: ...

    async def renamed(self, container: ContainerRecord) -> None: ...


class Volumes(Protocol):
    async def create(
        self,
        name: str,
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        anonymous: bool = False,
    ) -> VolumeRecord: ...

    async def mount(
        self,
        name: str,
        container_id: str,
        *,
        destination: str = "",
        rw: bool = True,
        propagation: str = "",
    ) -> Path: ...

    async def unmount(self, name: str, container_id: str) -> None: ...

    async def populate(self, name: str, rootfs: Path, destination: str) -> None: ...

    async def remove(self, name: str, *, force: bool = False) -> None: ...

    def get(self, name: str) -> VolumeRecord: ...


class Images(Protocol):
    def find(self, ref: str, platform: Platform | None = None) -> ImageRecord: ...

    def config(self, image_id: str) -> ImageConfig: ...


class Logs(Protocol):
    def check(self, config: LogConfig) -> None: ...

    def path(self, container: ContainerRecord) -> str: ...

    def intake(self, container: ContainerRecord, *, resumed: bool = False) -> Intake | None: ...

    async def remove(self, container_id: str) -> None: ...


class Followers(Protocol):
    """Services that follow a container's life: health checks, execs."""

    def started(self, container: ContainerRecord) -> None: ...

    def ended(self, container_id: str) -> None: ...

    def removed(self, container_id: str) -> None: ...


Runtimes = Mapping[str, Runtime]
