"""A supervisor of its own per test, in a private exec root, with a busybox root file system."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.system.runtime.runtime_bench import Bench

from naru.kernel import cgroups


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = os.geteuid() != 0 or not shutil.which("crun") or not shutil.which("busybox")
    for item in items:
        if here in item.path.parents and missing:
            item.add_marker(pytest.mark.skip(reason="needs root, crun and busybox"))


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rootfs")
    for name in ("bin", "proc", "dev", "sys", "etc", "tmp"):
        (root / name).mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "cat", "true", "echo", "sleep", "grep", "unshare", "stty", "id", "tty"):
        (root / "bin" / name).symlink_to("busybox")
    return root


@pytest.fixture
def exec_root(tmp_path: Path) -> Iterator[Path]:
    # Longer than the address of a Unix socket may be.
    root = tmp_path / ("long-" * 20) / "exec"
    root.mkdir(parents=True)
    yield root
    lock = root / "supervisor.lock"
    if (root / "supervisor.sock").exists() and lock.exists():
        with suppress(ProcessLookupError, ValueError):
            os.kill(int(lock.read_text()), signal.SIGKILL)
    if (root / "pids").exists():  # a test that failed
        for path in (root / "pids").iterdir():
            with suppress(ProcessLookupError):
                os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)


@pytest.fixture
async def bench(exec_root: Path, rootfs: Path) -> AsyncIterator[Bench]:
    made = Bench(exec_root, rootfs)
    await made.supervisor.connect()
    yield made
    for found in await made.supervisor.live():
        if found.exec_id is None:
            await made.runtime.delete(found.container_id)
            made.exits.setdefault((found.container_id, None), [])
            with suppress(TimeoutError):
                await made.exit_of(found.container_id)
    for endings in list(made.exits.values()):
        for one in endings:
            await made.supervisor.acknowledge(one)
            if one.exec_id is None:
                await made.runtime.delete(one.container_id)
    await made.supervisor.quit()
    await made.close()
    cgroups.Group(cgroups.detect(), made.cgroup).remove()
