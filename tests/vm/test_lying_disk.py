"""A disk that has lost what it acknowledged: what was on it before is whole, the rest is named.

Docs: disk.md, "Crashes and power cuts".
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.spec.layers import chains
from tests.harness.daemon import Daemon
from tests.harness.reboot import reboot
from tests.harness.registry import Registry
from tests.system.disk.place import problems
from tests.vm.lyingdisk import LyingDisk, lying_disk
from tests.vm.pools import until

SIZE = 1 << 30
SUM = "find /data -type f | sort | xargs cat | sha256sum"
FILES = 60
RUN = ("run", "--network", "none")


class World:
    """A daemon on the disk, a registry elsewhere; `sums` are those of the files in the images."""

    def __init__(self, daemon: Daemon, disk: LyingDisk, registry: Registry) -> None:
        self.daemon = daemon
        self.disk = disk
        self.registry = registry
        self.sums: dict[str, str] = {}

    def image(self, name: str) -> str:
        return f"{self.registry.address}/{name}:1"

    def publish(self, name: str) -> None:
        """An image with files of its own, in the registry alone."""
        fill = (
            f"mkdir /data; for i in $(seq {FILES}); do head -c 9000 /dev/urandom > /data/$i; done"
        )
        self.daemon.docker(*RUN, "--name", "maker", "busybox", "sh", "-c", fill)
        self.daemon.docker("commit", "maker", self.image(name))
        self.sums[name] = self.sum(name)
        self.daemon.docker("push", self.image(name))
        self.daemon.docker("rm", "maker")
        self.daemon.docker("rmi", self.image(name))

    def sum(self, name: str) -> str:
        return self.daemon.docker(*RUN, "--rm", self.image(name), "sh", "-c", SUM).stdout

    def pull(self, name: str) -> str:
        return self.daemon.docker("pull", self.image(name)).stdout

    def listed(self) -> set[str]:
        names = self.daemon.docker("images", "--format", "{{.Repository}}").stdout.split()
        return {name.rpartition("/")[2] for name in names}

    def assert_whole(self, *names: str) -> None:
        assert {name: self.sum(name) for name in names} == {name: self.sums[name] for name in names}


@pytest.fixture
def registry_root(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def world(request: pytest.FixtureRequest, root: Path, registry_root: Path) -> Iterator[World]:
    kind, driver = request.param
    with lying_disk(kind, root, size=SIZE) as disk:
        daemon = Daemon(options=("-s", driver, "--min-free-space", "0"))
        daemon.data_root = disk.root / "naru"
        registry = Registry(registry_root, daemon.netns)
        try:
            daemon.start()
            daemon.make_busybox()
            yield World(daemon, disk, registry)
        finally:
            registry.close()
            daemon.stop()


def on(*pairs: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("world", pairs, indirect=True, ids=["-".join(p) for p in pairs])


@on(("ext4", "overlay2"), ("xfs", "erofs"), ("ext4", "vfs"))
def test_what_was_durable_before_the_lie_is_whole(world: World) -> None:
    daemon, docker = world.daemon, world.daemon.docker
    for name in ("before", "removed", "late"):
        world.publish(name)
    world.pull("before")
    world.pull("removed")
    docker(*RUN, "--name", "kept", "-v", "named:/v", world.image("before"),
           "sh", "-c", "echo mine | tee /mine /v/mine; sync")  # fmt: skip
    subprocess.run(["sync", "-f", str(world.disk.root)], check=True)

    _lie_in_the_middle_of_a_pull(world, "late")
    # All of this is answered as done.
    world.assert_whole("before")
    docker("commit", "kept", "committed")
    docker("rmi", world.image("removed"))
    docker("create", "--network", "none", "--name", "made", "busybox", "true")
    docker(*RUN, "-d", "--name", "runs", world.image("before"), "sleep", "1000")
    docker("volume", "create", "other")
    assert world.listed() == {"busybox", "before", "late", "committed"}
    reboot(daemon)
    world.disk.forget()
    world.disk.be_true()
    world.disk.mount()

    daemon.start()
    assert problems(daemon, "--verify") == []
    assert {"busybox", "before", "removed"} <= world.listed() <= {
        "busybox", "before", "removed", "late",
    }  # fmt: skip
    world.assert_whole(*(world.listed() - {"busybox"}))
    assert docker("ps", "-a", "--format", "{{.Names}}").stdout.split() == ["kept"]
    assert docker("start", "-a", "kept").stdout == "mine\n"
    assert docker("logs", "kept").stdout == "mine\nmine\n"
    assert docker("volume", "ls", "-q").stdout.split() == ["named"]
    assert (daemon.data_root / "volumes/named/_data/mine").read_text() == "mine\n"
    # It goes on as if what was lost had never been asked for.
    world.pull("late")
    docker("rmi", world.image("removed"))
    docker("commit", "kept", "committed")
    world.assert_whole("before", "late")
    assert problems(daemon, "--verify") == []


def _lie_in_the_middle_of_a_pull(world: World, name: str) -> None:
    partial = world.daemon.data_root / "blobs/partial"
    client = subprocess.Popen(
        ["docker", "-H", world.daemon.host, "pull", world.image(name)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    until(lambda: client.poll() is not None or any(partial.iterdir()))
    world.disk.lie()
    _, error = client.communicate(timeout=120)
    assert client.returncode == 0, error.decode()


@on(("ext4", "overlay2"), ("ext4", "erofs"))
def test_what_a_lie_took_from_under_the_records_is_named(world: World) -> None:
    """It lies for a while, and nobody notices: the file system is damaged, the records are not."""
    daemon, docker = world.daemon, world.daemon.docker
    images = ("before", "damaged")
    for name in images:
        world.publish(name)
    world.pull("before")
    subprocess.run(["sync", "-f", str(world.disk.root)], check=True)
    world.disk.lie()
    world.pull("damaged")
    world.disk.be_true()
    parts = {name: _parts(daemon, world.image(name)) for name in images}
    parts["busybox"] = _parts(daemon, "busybox")
    daemon.terminate()
    world.disk.forget()
    world.disk.mount()

    # What leads to files is lost, and the file system does not know it yet.
    daemon.start()
    assert _found(daemon)
    daemon.terminate()
    world.disk.forget()
    world.disk.check()
    world.disk.mount()

    daemon.start()
    found = _found(daemon)
    assert {each["State"] for each in found} <= {"found", "left"}
    assert found
    saved = docker("save", "-o", str(daemon.root / "saved"), world.image("damaged"), check=False)
    assert saved.returncode != 0
    left = {each["What"] for each in _found(daemon, "--repair") if each["State"] == "left"}
    assert {each["What"] for each in _found(daemon)} == left
    named = {name for name, its in parts.items() if its & left}
    assert "damaged" in named
    # The check of the file system may have taken more than the disk: what is not named is whole.
    world.assert_whole(*({"before"} - named))
    if named & {"before", "busybox"}:
        docker("rm", "-f", *docker("ps", "-aq").stdout.split(), check=False)
    for name in named - {"busybox"}:
        docker("rmi", world.image(name))
    if "busybox" in named:
        docker("rmi", "busybox")
        daemon.make_busybox()
    for name in images:
        world.pull(name)
    world.assert_whole(*images)
    assert problems(daemon, "--verify") == []


def _found(daemon: Daemon, *options: str) -> list[dict[str, str]]:
    done = daemon.naru("system", "check", "--format", "json", "--verify", *options, check=False)
    *found, _ = (json.loads(line) for line in done.stdout.splitlines())
    return found


def _parts(daemon: Daemon, image: str) -> set[str]:
    """What an image is made of, by the names under which a check tells of it."""
    found = json.loads(daemon.docker("image", "inspect", image).stdout)[0]
    digests = (name.rpartition("@")[2] for name in found["RepoDigests"])
    return {found["Id"], *digests, *chains(found["RootFS"]["Layers"])}
