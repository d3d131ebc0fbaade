"""The container verbs over fakes: real records, streams and files; no kernel objects, no root."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from naru.engine.containers.adapt import HostDefaults
from naru.engine.containers.containers import Containers
from naru.engine.containers.create import Create, Request
from naru.engine.containers.devices import HostDevices
from naru.engine.containers.exits import Exits
from naru.engine.containers.facts import HostFacts
from naru.engine.containers.lifecycle import Lifecycle
from naru.engine.containers.live import Lives
from naru.engine.containers.paths import ContainerPaths
from naru.engine.containers.pause import Pause
from naru.engine.containers.prepare import Prepare
from naru.engine.containers.provision import MountProvision
from naru.engine.containers.pump import Pump
from naru.engine.containers.recovery import Recovery
from naru.engine.containers.remove import Remove
from naru.engine.containers.rename import Rename
from naru.engine.containers.resources import Controllers
from naru.engine.containers.start import Start
from naru.engine.containers.stop import Stop
from naru.engine.containers.teardown import Teardown
from naru.engine.containers.update import Update
from naru.engine.containers.wait import Wait
from naru.engine.tasks import Tasks
from naru.kernel.cgroups import Hierarchies, Mode
from naru.spec.containers import ContainerConfig, ContainerRecord, HostConfig
from naru.spec.errors import InternalError, no_such_image, no_such_volume
from naru.spec.images import ImageRecord
from naru.spec.oci import ImageConfig
from naru.spec.volumes import VolumeRecord
from naru.store.layers import nothing_more
from naru.store.records import Records


@dataclass(frozen=True)
class Supervised:
    container_id: str
    exec_id: str | None
    pid: int


@dataclass(frozen=True)
class Ended:
    container_id: str
    pid: int
    status: int
    at: int = 10**18
    exec_id: str | None = None


class FakeRuntime:
    """Processes are numbers; `die` ends one, signals in `fatal` do so at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pids = itertools.count(100)
        self.running: dict[str, int] = {}
        self._outputs: dict[str, int] = {}
        self.fatal = {9, 15}
        self.signals: list[int] = []
        self.fails: Exception | None = None
        self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()

    def expect_start(self) -> None:
        pass

    async def run(
        self,
        container_id: str,
        bundle: Path,
        *,
        tty: bool,
        stdin: bool,
        config: Mapping[str, Any] | None = None,
    ) -> tuple[int, Any]:
        self.reached.set()
        await self.gate.wait()
        assert bundle.is_dir()
        if self.fails is not None:
            raise self.fails
        self.runs += 1
        read_end, write_end = os.pipe()
        self._outputs[container_id] = write_end
        pid = self.running[container_id] = next(self._pids)
        return pid, SimpleNamespace(stdin=None, stdout=read_end, stderr=None, pty=None)

    def die(self, container_id: str, status: int = 0) -> None:
        pid = self.running.pop(container_id)
        os.close(self._outputs.pop(container_id))
        ended = Ended(container_id, pid, status)
        asyncio.get_running_loop().call_soon(self._world.exits.heard, ended)

    async def kill(self, container_id: str, signal: int, *, all: bool = False) -> None:
        self.signals.append(signal)
        if container_id not in self.running:
            raise InternalError("no such process")
        if signal in self.fatal:
            self.die(container_id, 128 + signal)

    async def pause(self, container_id: str) -> None:
        pass

    async def resume(self, container_id: str) -> None:
        pass

    async def delete(self, container_id: str) -> None:
        if container_id in self.running:
            self.die(container_id, 137)

    async def update(self, container_id: str, resources: Mapping[str, Any]) -> None:
        self.updated = resources

    async def pids(self, container_id: str) -> list[int]:
        return [self.running[container_id]]

    async def resize(self, container_id: str, exec_id: str | None, height: int, width: int) -> None:
        pass

    async def close_stdin(self, container_id: str, exec_id: str | None = None) -> None:
        pass


class FakeLayers:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.mounted: set[str] = set()
        self.fails: Exception | None = None

    def acquire(self, chain: str) -> None:
        pass

    def release(self, chain: str) -> None:
        pass

    def _path(self, container_id: str) -> Path:
        return self._root / container_id

    async def create_writable(
        self,
        container_id: str,
        chain_id: str,
        *,
        size: int | None = None,
        record: Callable[[], Awaitable[None]] = nothing_more,
    ) -> None:
        if self.fails is not None:
            raise self.fails
        self._path(container_id).mkdir(parents=True)
        await record()

    async def mount(self, container_id: str) -> Path:
        self.mounted.add(container_id)
        return self._path(container_id)

    async def unmount(self, container_id: str) -> None:
        self.mounted.discard(container_id)

    async def remove_writable(self, container_id: str) -> None:
        self.mounted.discard(container_id)
        if self._path(container_id).exists():
            self._path(container_id).rmdir()

    def left(self) -> list[str]:
        return os.listdir(self._root) if self._root.exists() else []


class FakeNetworks:
    def __init__(self) -> None:
        self.attached: set[str] = set()
        self.fails: Exception | None = None
        self.short = 0
        """How many detaches more fail for want of descriptors."""

    async def attach(self, container: ContainerRecord) -> Any:
        if self.fails is not None:
            raise self.fails
        self.attached.add(container.id)
        return SimpleNamespace(netns=Path("/netns"), endpoints=container.endpoints)

    async def detach(self, container_id: str) -> None:
        if self.short:
            self.short -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        self.attached.discard(container_id)

    def files(self, container: ContainerRecord) -> Any:
        return SimpleNamespace(hosts="hosts\n", resolv_conf="", hostname="h\n")

    def settings(self, container: ContainerRecord) -> dict[str, Any]:
        return {}

    async def renamed(self, container: ContainerRecord) -> None:
        pass


class FakeVolumes:
    def __init__(self) -> None:
        self.known: dict[str, VolumeRecord] = {}

    async def create(self, name: str, *, anonymous: bool = False, **_: Any) -> VolumeRecord:
        record = VolumeRecord(
            name=name, driver="local", mountpoint=f"/v/{name}", created=1, anonymous=anonymous
        )
        return self.known.setdefault(name, record)

    async def mount(self, name: str, container_id: str, **_: Any) -> Path:
        return Path(self.known[name].mountpoint)

    async def unmount(self, name: str, container_id: str) -> None:
        pass

    async def populate(self, name: str, rootfs: Path, destination: str) -> None:
        pass

    async def remove(self, name: str, *, force: bool = False) -> None:
        self.known.pop(name, None)

    def get(self, name: str) -> VolumeRecord:
        if name not in self.known:
            raise no_such_volume(name)
        return self.known[name]


class FakeImages:
    def find(self, ref: str, platform: object = None) -> ImageRecord:
        if ref != "image":
            raise no_such_image(ref)
        return ImageRecord(id="sha256:image", chain_id="sha256:chain")

    def config(self, image_id: str) -> ImageConfig:
        return ImageConfig(config=ContainerConfig(cmd=["prog"]))


class FakeLogs:
    def check(self, config: object) -> None:
        pass

    def path(self, container: ContainerRecord) -> str:
        return ""

    def intake(self, container: ContainerRecord, *, resumed: bool = False) -> None:
        return None

    async def remove(self, container_id: str) -> None:
        pass


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.records = Records.open(root / "records.db")
        self.tasks = Tasks()
        self.pump = Pump()
        self.layers = FakeLayers(root / "layers")
        self.networks = FakeNetworks()
        self.volumes = FakeVolumes()
        self.paths = ContainerPaths(root / "data", root / "run")
        self.acknowledged: list[Any] = []
        self.runtime = FakeRuntime(self)
        self.held = HostDevices()  # what an update has limited
        self.boot()

    def boot(self) -> None:
        """What a new daemon makes: everything that is only in memory."""
        runtimes = {"crun": self.runtime}
        facts = HostFacts(Hierarchies(Mode.UNIFIED))
        self.containers = Containers(records=self.records, lives=Lives())
        shared: dict[str, Any] = {"containers": self.containers, "runtimes": runtimes}
        stores: dict[str, Any] = {
            "layers": self.layers,
            "volumes": self.volumes,
            "paths": self.paths,
        }
        teardown = Teardown(**stores, networks=self.networks, runtimes=runtimes, facts=facts)
        prepare = Prepare(**stores, containers=self.containers, facts=facts)
        logs: Any = FakeLogs()
        self.start = Start(
            **shared,
            prepare=prepare,
            networks=self.networks,
            logs=logs,
            pump=self.pump,
            teardown=teardown,
            paths=self.paths,
            tasks=self.tasks,
        )
        remove = Remove(**shared, **stores, logs=logs, teardown=teardown, tasks=self.tasks)

        async def acknowledge(ended: Any) -> None:
            self.acknowledged.append(ended)

        self.exits = Exits(
            containers=self.containers,
            start=self.start,
            remove=remove,
            teardown=teardown,
            facts=facts,
            tasks=self.tasks,
            acknowledge=acknowledge,
        )
        images: Any = FakeImages()

        def controllers() -> Controllers:
            return Controllers(cpus=frozenset({0}))

        def hold(record: ContainerRecord, found: HostDevices) -> None:
            self.held = found

        create = Create(
            **shared,
            images=images,
            layers=self.layers,
            provision=MountProvision(containers=self.containers, volumes=self.volumes),
            paths=self.paths,
            defaults=HostDefaults(),
            controllers=controllers,
            logs=logs,
            storage_driver=lambda: "fake",
        )
        self.lifecycle = Lifecycle(
            containers=self.containers,
            create=create,
            start=self.start,
            stop=Stop(**shared),
            pause=Pause(**shared),
            remove=remove,
            rename=Rename(containers=self.containers, networks=self.networks),
            update=Update(**shared, controllers=controllers, hold=hold),
            wait=Wait(containers=self.containers),
            tasks=self.tasks,
        )

        async def live() -> list[Supervised]:
            return [Supervised(key, None, pid) for key, pid in self.runtime.running.items()]

        async def stdio(container_id: str) -> Any:
            return SimpleNamespace(stdin=None, stdout=None, stderr=None, pty=None)

        self.recovery = Recovery(
            **shared,
            exits=self.exits,
            start=self.start,
            remove=remove,
            teardown=teardown,
            logs=logs,
            pump=self.pump,
            paths=self.paths,
            tasks=self.tasks,
            live=live,
            stdio=stdio,
        )

    async def create(self, name: str = "", **host: Any) -> ContainerRecord:
        config = ContainerConfig(image="image", volumes=host.pop("volumes", {}))
        request = Request(config=config, host=HostConfig(**host), name=name)
        return (await self.lifecycle.create(request)).record

    def now(self, record: ContainerRecord) -> ContainerRecord:
        present = self.containers.get(record.id)
        assert present is not None
        return present

    def actions(self, container_id: str) -> list[str]:
        return [event.action for event in self.records.events() if event.actor_id == container_id]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the commit that makes it true."""
        changed = asyncio.Event()
        forget = self.records.subscribe(lambda event: changed.set())
        try:
            while not condition():
                changed.clear()
                await changed.wait()
        finally:
            forget()

    def left_behind(self) -> list[str]:
        """What a container that is gone, or at rest, must not leave."""
        directories = [*self.paths.containers.glob("*"), *self.paths.bundles.glob("*")]
        return [*map(str, directories), *self.layers.left(), *self.networks.attached]

    async def close(self) -> None:
        await self.tasks.close()
        self.pump.close()
        await self.records.close()
