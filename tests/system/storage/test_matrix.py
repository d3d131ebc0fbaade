"""One image and one container: the same to the byte under every driver, and from one to the next.

Over all drivers that this kernel can run, or over those that NARU_TEST_DRIVERS names: of these one
that does not start fails instead of being left out. NARU_TEST_STORAGE is a directory to work in.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.daemon import Daemon
from tests.harness.loopdisk import NoDisk, loop_disk
from tests.harness.netns import NetworkNamespace
from tests.harness.registry import Registry
from tests.harness.trees import Tree, compared
from tests.system.disk.place import problems
from tests.system.storage.stage import Stage, change, lay, settle_times

from naru.spec.errors import NaruError
from naru.store.choice import choose, known

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_BASE = os.environ.get("NARU_TEST_STORAGE")
_NAMED = os.environ.get("NARU_TEST_DRIVERS", "").replace(",", " ").split()
MADE = (
    ".", ".dockerenv", "dev", "dev/console", "dev/pts", "dev/shm", "etc", "etc/hostname",
    "etc/hosts", "etc/mtab", "etc/resolv.conf", "proc", "sys",
)  # fmt: skip
OPTIONS = {
    "devicemapper": ("dm.basesize=512M", "dm.loopdatasize=4G", "dm.loopmetadatasize=32M"),
}


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """btrfs, if it can be had: every driver works on it, and one on nothing else."""
    with contextlib.ExitStack() as made:
        try:
            yield made.enter_context(loop_disk("btrfs", size=6 << 30, base=_BASE))
            return
        except NoDisk:
            if "btrfs" in _NAMED:
                raise
        yield Path(made.enter_context(tempfile.TemporaryDirectory(dir=_BASE)))


@pytest.fixture(scope="module")
def drivers(disk: Path) -> list[str]:
    if _NAMED:
        return _NAMED
    found = []
    for name in known():
        try:
            driver = choose(name, disk / "probe", list(OPTIONS.get(name, ())))
        except NaruError as error:
            print(f"left out: {error}")
        else:
            found.append(name)
            if (close := getattr(driver, "close", None)) is not None:
                close()
    return found


@pytest.fixture(scope="module")
def netns() -> Iterator[NetworkNamespace]:
    with contextlib.closing(NetworkNamespace()) as made:
        yield made


@pytest.fixture(scope="module")
def image(disk: Path, netns: NetworkNamespace, drivers: list[str]) -> Iterator[str]:
    """The name of an image in a registry, with all kinds of files."""
    registry = Registry(disk / "registry", netns)
    try:
        with staged(disk / "builder", netns, drivers[0]) as here:
            here.daemon.make_busybox("base")
            with here.running("base", name="builder") as root:
                lay(root)
            name = f"{registry.address}/layered"
            here.daemon.docker("commit", "builder", name)
            here.daemon.docker("push", name)
        yield name
    finally:
        registry.close()


@contextlib.contextmanager
def staged(root: Path, netns: NetworkNamespace, driver: str) -> Iterator[Stage]:
    root.mkdir()
    options = [part for each in OPTIONS.get(driver, ()) for part in ("--storage-opt", each)]
    daemon = Daemon(root, options=("-s", driver, *options), netns=netns)
    try:
        yield Stage(daemon.start())
    finally:
        daemon.stop()


def work(here: Stage, image: str) -> None:
    """Pull, run with changes, commit: `pulled`, the container `changed`, `committed`."""
    since = time.time_ns()
    here.daemon.docker("pull", image)
    here.daemon.docker("tag", image, "pulled")
    with here.running("pulled", name="changed") as root:
        change(root)
        settle_times(root, since)
    here.daemon.docker("commit", "changed", "committed")


def trees(here: Stage) -> dict[str, Tree]:
    return {
        "pulled": of_an_image(here.image_tree("pulled")),
        "changed": here.container_tree("changed"),
        "committed": of_an_image(here.image_tree("committed")),
    }


def of_an_image(tree: Tree) -> Tree:
    """But for the age of what no layer of it has: mount points are made with the container."""
    ageless = {name: tree.nodes[name]._replace(mtime=0) for name in MADE if name in tree.nodes}
    return tree._replace(nodes={**tree.nodes, **ageless})


def differences(one: dict[str, Tree], two: dict[str, Tree]) -> list[str]:
    return [f"{name}: {line}" for name in one for line in compared(one[name], two[name])]


def test_every_driver_has_the_same(
    disk: Path, netns: NetworkNamespace, drivers: list[str], image: str
) -> None:
    first: dict[str, Tree] = {}
    wrong = []
    for driver in drivers:
        with staged(disk / driver, netns, driver) as here:
            work(here, image)
            found = trees(here)
            first = first or found
            wrong += [f"{driver}: {line}" for line in differences(first, found)]
    assert wrong == []


def test_there_and_back(
    disk: Path, netns: NetworkNamespace, drivers: list[str], image: str
) -> None:
    way = [*drivers, *drivers[-2::-1]]
    with staged(disk / "way", netns, way[0]) as here:
        work(here, image)
        before, diff = trees(here), here.diff("changed")
        docker = here.daemon.docker
        image_id = docker("images", "-q", "--no-trunc", "committed").stdout
        for former, driver in itertools.pairwise(way):
            options = [p for each in OPTIONS.get(driver, ()) for p in ("--storage-opt", each)]
            text = here.migrate("--to", driver, *options)
            assert f"the storage driver in use is {driver}" in text
            assert here.driver() == driver
            assert here.drivers_of_records() == {driver}
            assert not (here.daemon.data_root / former).exists()
            assert differences(before, trees(here)) == [], f"from {former} to {driver}"
            assert here.diff("changed") == diff, f"from {former} to {driver}"
            # A commit, a save and a new container work on what was carried.
            docker("save", "-o", str(here.daemon.root / "saved"), "pulled", "committed")
            docker("commit", "changed", "again")
            assert docker("run", "--rm", "again", "cat", "/opt/old/new").stdout == "above"
            docker("rmi", "again")
        # What has been everywhere is still what it was when it came.
        assert problems(here.daemon, "--verify") == []
        docker("tag", "committed", f"{image}:again")
        docker("push", f"{image}:again")
        docker("rmi", "committed", f"{image}:again")
        docker("pull", f"{image}:again")
        assert docker("images", "-q", "--no-trunc", f"{image}:again").stdout == image_id
